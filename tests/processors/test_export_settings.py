"""What the settings say of exports and reports, and what a producer checks and loads of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cloudq_tui.errors import InvalidPayload, SettingsError
from cloudq_tui.settings import Settings
from tasks import app
from tasks.queues import data_export, report_generation
from tasks.queues.job import PlatformQueue
from tasks.settings import ExportSettings, PlatformSettings, ReportsSettings, load_platform_settings

ROOT = Path(__file__).parents[2]
QUERY = {"sql": "SELECT '12:30' AS t, x::text FROM a WHERE b = :b", "params": {"b": {"type": "integer"}}}
SHOP = {"url": "postgresql://reader@db.internal/shop", "queries": {"orders": QUERY}}


def exports(**changes: Any) -> ExportSettings:
    return ExportSettings.model_validate({"sources": {"shop": SHOP | changes}})


def test_a_producer_loads_no_library_of_the_worker() -> None:
    heavy = {*data_export.QUEUE.needs, *report_generation.QUEUE.needs}
    code = "import sys, tasks; tasks.DEFINITIONS; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())
    assert "tasks.queues.report_generation" in done.stdout.split()


def test_a_queue_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_export.QUEUE.missing() == report_generation.QUEUE.missing() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pyarrow" else name)
    assert data_export.QUEUE.missing() == ["pyarrow"]


def test_a_worker_says_what_it_does_not_serve_and_how_it_would(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = {"pyarrow", "xlsxwriter", "apprise"}
    monkeypatch.setattr(PlatformQueue, "missing", lambda queue: [name for name in queue.needs if name in lacking])
    settings = Settings(redis={"url": redis_url}, queues={"notification": False})
    served = app.make_huey(settings).served()
    assert "data-export" not in served
    assert {"email", "report-generation", "image-processing"} <= set(served)
    install = "pip install 'cloudq-tui[worker]'"
    said = f"queue data-export is not served here: pyarrow, xlsxwriter not installed; {install}"
    assert [record.getMessage() for record in caplog.records] == [said]
    caplog.clear()
    monkeypatch.setenv("CLOUDQ_QUEUES", "email,sms")
    assert app.make_huey(settings).served() == ("email", "sms")
    assert caplog.records == [], "nobody asked this worker for the others"


def test_a_worker_says_which_queue_of_the_catalog_the_settings_forgot(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ninth = replace(data_export.QUEUE, name="ninth", jobs=lambda _: [], needs=("nowhere",))
    monkeypatch.setattr(app, "QUEUES", (ninth, data_export.QUEUE))
    dropped = Settings(redis={"url": redis_url}, queues={"data-export": False})
    assert app.make_huey(dropped).served() == ("maintenance",)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["queue ninth is not served: the settings do not name it under queues"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"sql": "SELECT :a"}, "sql uses :a, which params does not declare"),
        ({"sql": "SELECT 1", "params": {"a": {}}}, "params declares a, which sql does not use"),
        ({"sql": ""}, "at least 1 character"),
        ({"sql": "SELECT :a", "params": {"a": {"type": "sql"}}}, "Input should be 'string'"),
    ],
)
def test_queries_declare_what_they_use(query: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        exports(queries={"orders": query})


def test_a_report_draws_what_it_has() -> None:
    with pytest.raises(ValidationError, match="a chart draws the query 'b', which the report does not have"):
        ReportsSettings.model_validate({"definitions": {"x": {"charts": [{"query": "b", "y": ["n"]}]}}})
    with pytest.raises(ValidationError, match="queue-health is built in"):
        ReportsSettings.model_validate({"definitions": {"queue-health": {}}})


def test_a_password_stays_out_of_the_file_and_out_of_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    url = "postgresql://reader:p4ss@db.internal/shop"
    path.write_text(yaml.safe_dump({"exports": {"sources": {"shop": SHOP | {"url": url}}}}))
    with pytest.raises(
        SettingsError, match=r"exports\.sources\.shop\.url: a secret belongs in the environment"
    ) as raised:
        load_platform_settings()
    assert "p4ss" not in str(raised.value)
    path.write_text(yaml.safe_dump({"exports": {"sources": {"shop": SHOP}}}))
    monkeypatch.setenv("CLOUDQ_EXPORTS__SOURCES__SHOP__PASSWORD", "p4ss")
    settings = load_platform_settings()
    assert "p4ss" not in repr(settings)
    source, _ = data_export.sql_sources(settings.exports).find("shop", "orders")
    assert (source.password, source.statement_timeout) == ("p4ss", 300)


def test_a_password_file_is_read_by_the_first_job_only(tmp_path: Path) -> None:
    settings = exports(password_file=str(tmp_path / "missing"))
    data_export.jobs(PlatformSettings(exports=settings))
    with pytest.raises(SettingsError, match=r"exports\.sources\.shop\.password_file: .*No such file"):
        data_export.sql_sources(settings).find("shop", "orders")


def test_a_source_shows_no_password_when_it_is_printed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p4ss\n")
    source, _ = data_export.sql_sources(exports(password_file=str(tmp_path / "secret"))).find("shop", "orders")
    assert source.password == "p4ss"
    assert "p4ss" not in repr(source)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query": "customers"}, r"query: source shop has no such query \(orders\)"),
        ({"params": {"b": "1"}}, "params.b: must be an integer"),
        ({"params": {}}, "params.b: is required"),
    ],
)
def test_a_producer_that_knows_the_source_refuses_at_once(change: dict[str, Any], words: str) -> None:
    [job] = data_export.jobs(PlatformSettings(exports=exports()))
    payload = {"source": "shop", "query": "orders", "params": {"b": 1}, "format": "csv"}
    assert job.check(payload) == payload
    with pytest.raises(InvalidPayload, match=words):
        job.check(payload | change)


def test_a_producer_that_does_not_know_the_source_leaves_it_to_the_worker() -> None:
    [job] = data_export.jobs(PlatformSettings())
    assert job.check({"source": "shop", "query": "any", "format": "parquet"})["query"] == "any"

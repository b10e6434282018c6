"""A real consumer, killed in the middle of an export and of a report: the file is whole in the end and alone."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudq_tui.models.job import Job, JobOptions, JobState
from tasks.service import QueueService

ROOT = Path(__file__).parents[2]
ROWS = 200_000
SLOW = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT i, 'row ' || i AS t FROM n"
)
DONE = {JobState.COMPLETED, JobState.FAILED}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "consumer.log"


@pytest.fixture
def environment(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE empty (i INTEGER)")
    config = {
        "exports": {
            "root": str(tmp_path / "exports"),
            "sources": {
                "shop": {
                    "url": f"sqlite:///{tmp_path}/shop.db",
                    "queries": {"many": {"sql": SLOW, "params": {"rows": {"type": "integer"}}, "estimate": ROWS}},
                },
                "silent": {"url": "postgresql://x@127.0.0.1:1/x", "queries": {"any": {"sql": "SELECT 1"}}},
            },
        },
        "reports": {
            "root": str(tmp_path / "reports"),
            "definitions": {"big": {"queries": {"rows": {"source": "shop", "query": "many"}}}},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    settings = {"REDIS_URL": redis_url, "CLOUDQ_WORKER__LEASE": "2", "PYTHONPATH": str(ROOT)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def start_consumer(environment: dict[str, str], log: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    binary = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert binary is not None
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str, **more: str) -> subprocess.Popen[bytes]:
        command = [binary, "tasks.huey", "-w", "2", *options]
        with log.open("ab") as out:
            started.append(
                subprocess.Popen(command, env=environment | more, stdout=out, stderr=out, start_new_session=True)
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def ended(service: QueueService, job: Job, log: Path) -> Job:
    wait_until(lambda: service.job(job.queue, job.id).state in DONE, log)
    return service.job(job.queue, job.id)


def test_a_killed_export_leaves_one_whole_file(start_consumer: Any, tmp_path: Path, log: Path) -> None:
    folder = tmp_path / "exports"
    with QueueService() as service:
        payload = {"source": "shop", "query": "many", "params": {"rows": ROWS}, "format": "csv"}
        job = service.enqueue("data-export", "export-data", payload)
        first = start_consumer()
        wait_until(lambda: any(one.stat().st_size > 100_000 for one in folder.glob(".*.partial")), log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert service.job(job.queue, job.id).state is JobState.ACTIVE
        assert len(list(folder.iterdir())) == 1
        start_consumer()
        seen = ended(service, job, log)
    assert (seen.state, seen.stalled, seen.error) == (JobState.COMPLETED, 1, "")
    assert [one.name for one in folder.iterdir()] == [seen.result["file"]] == [f"shop-many-{job.id}.csv"]
    with (folder / seen.result["file"]).open() as file:
        assert sum(1 for _ in file) == ROWS + 1 == seen.result["rows"] + 1


def test_a_killed_report_is_made_anew(start_consumer: Any, tmp_path: Path, log: Path) -> None:
    with QueueService() as service:
        job = service.generate_report({"report": "big", "params": {"rows": 1000}, "format": "pdf"})
        first = start_consumer()
        wait_until(lambda: service.job(job.queue, job.id).step in {"layout", "render", "write"}, log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        killed_in_time = service.job(job.queue, job.id).state is JobState.ACTIVE
        start_consumer()
        seen = ended(service, job, log)
        health = ended(service, service.generate_report({"report": "queue-health", "format": "html"}), log)
    assert killed_in_time
    assert (seen.state, seen.stalled) == (JobState.COMPLETED, 1)
    assert (health.state, health.error) == (JobState.COMPLETED, "")
    names = {Path(one.result["path"]).name for one in (seen, health)}
    assert {one.name for one in (tmp_path / "reports").iterdir()} == names
    assert ">report-generation</td>" in Path(health.result["path"]).read_text()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_silent_database_ends_as_timeout(
    start_consumer: Any, tmp_path: Path, log: Path, silent_peer: Any, kind: str
) -> None:
    peer = silent_peer()
    url = f"postgresql://x@127.0.0.1:{peer.port}/x"
    with QueueService() as service:
        start_consumer("-k", kind, CLOUDQ_EXPORTS__SOURCES__SILENT__URL=url)
        once = JobOptions.from_wire({"retries": 0, "timeout": 2000})
        job = service.enqueue("data-export", "export-data", {"source": "silent", "query": "any", "format": "csv"}, once)
        seen = ended(service, job, log)
    assert seen.state is JobState.FAILED
    assert "timeout" in seen.error, seen
    assert seen.finished_on is not None
    assert seen.processed_on is not None
    assert seen.finished_on - seen.processed_on < 3000
    assert peer.connections >= 1
    assert list((tmp_path / "exports").iterdir()) == []

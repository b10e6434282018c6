"""The composition root: which Redis it finds, what it warns of, and who is said to act."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudq_tui.bootstrap import build, build_huey, default_actor, load_definitions
from cloudq_tui.errors import QueueUnavailable, ReadOnly, SettingsError
from cloudq_tui.models.event import Actor
from cloudq_tui.settings import Settings


@pytest.fixture
def given(redis_url: str) -> Settings:
    return Settings(redis={"url": redis_url, "prefix": "mine"}, dedupe_ttl=5)


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_CLIENT", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, from which a task package can be imported."""
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in ("myjobs", "mybroken"):
        sys.modules.pop(name, None)


def test_build_on_a_configured_redis(given: Settings) -> None:
    with build(given, actor=Actor("ops1", "cli")) as runtime:
        assert runtime.redis_server is None
        runtime.operations.pause_queue("email")
        assert runtime.engine.prefix == runtime.reader.prefix == "mine"
        (entry,) = runtime.operations.audit()
        assert entry.actor == Actor("ops1", "cli")


def test_read_only_by_the_caller_or_by_the_settings(given: Settings) -> None:
    careful = given.model_copy(update={"dashboard": given.dashboard.model_copy(update={"read_only": True})})
    for settings, flag in ((given, True), (careful, False)):
        with build(settings, read_only=flag) as runtime, pytest.raises(ReadOnly):
            runtime.operations.pause_queue("email")


def test_an_unreachable_redis_is_met_by_the_first_call(tmp_path: Path) -> None:
    with build(Settings(redis={"socket": tmp_path / "none.sock"})) as runtime, pytest.raises(QueueUnavailable):
        runtime.operations.snapshot()


def test_nothing_configured_is_the_embedded_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(redis={"data_dir": tmp_path / "redis"})
    with build(settings, actor=Actor("me", "cli")) as runtime:
        assert runtime.redis_server is not None
        assert runtime.operations.all_queues_status()[0].counts.waiting == 0
        assert runtime.operations.snapshot().redis.address == f"embedded ({tmp_path / 'redis'})"
        assert caplog.records == []
        with build(settings, actor=Actor("me", "python")):
            (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert f"embedded ({tmp_path / 'redis'})" in record.getMessage()


def test_what_was_chosen_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with build(Settings(redis={"data_dir": tmp_path / "redis", "embedded": "always"})):
        assert caplog.records == []


def test_huey_is_made_by_the_settings(redis_url: str) -> None:
    settings = Settings(
        redis={"url": redis_url},
        worker={"queues": ["email"], "lease": 9, "max_stalled": 5},
        queues={"email": {"concurrency": 3, "limiter": {"max": 7, "duration": 500}}, "sms": {"limiter": None}},
        timezone="Asia/Shanghai",
    )
    huey = build_huey(settings)
    assert huey.serve_queues == ("email",)
    assert (huey.queue_options["email"].concurrency, huey.queue_options["email"].limiter) == (3, (7, 500))
    assert huey.queue_options["sms"].limiter == (0, 0)
    assert huey.queue_options["email"].retention.failed_age == 7 * 24 * 3600 * 1000
    assert str(huey.timezone) == "Asia/Shanghai"
    huey.engine.close()


def test_hueys_own_log_names_no_recipient(given: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        build_huey(given).engine.close()
    log, handler = logging.getLogger("huey"), logging.StreamHandler()
    log.addHandler(handler)
    try:
        error = ValueError("no such mailbox: tony@example.com")
        log.error("Unhandled exception in task %s for %s.", "4f1c", "+8613800138000", exc_info=error)
    finally:
        log.removeHandler(handler)
    said = capsys.readouterr().err
    assert "Unhandled exception in task 4f1c for +86138****8000." in said
    assert said.endswith("ValueError: no such mailbox: t***@example.com\n")
    assert len(log.filters) == 1


@pytest.mark.parametrize(
    ("variables", "client"),
    [
        ({}, ""),
        ({"SSH_CLIENT": "10.0.0.7 50022 22"}, "10.0.0.7"),
        ({"SSH_CONNECTION": "10.0.0.8 50022 10.0.0.1 22"}, "10.0.0.8"),
    ],
)
@pytest.mark.usefixtures("no_session")
def test_who_acts(variables: dict[str, str], client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOGNAME", "ops1")
    assert default_actor("cli") == Actor("ops1", "cli", client)


def test_definitions_come_from_the_task_package(package: Path) -> None:
    (package / "myjobs.py").write_text("DEFINITIONS = ('one', 'two')")
    (package / "mybroken.py").write_text("import nowhere_to_be_found")
    assert list(map(str, load_definitions("myjobs.huey"))) == ["one", "two"]
    for path in ("mybroken.huey", "myabsent.huey"):
        with pytest.raises(SettingsError, match=r"worker\.task_path: cannot import"):
            load_definitions(path)


def test_a_package_without_definitions_has_none(package: Path) -> None:
    (package / "myjobs.py").write_text("")
    assert load_definitions("myjobs.huey") == ()

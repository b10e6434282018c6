"""Each command by what it prints, what it changes, and the status it ends with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloudq_tui.demo import demo_stage
from cloudq_tui.engine.connection import Connection
from cloudq_tui.errors import SettingsError
from cloudq_tui.models.job import JobOptions, JobState
from cloudq_tui.services.operations import QueueOperations

Shell = Any
MAIL = {"to": "test@example.com", "subject": "Hi"}


def one_line(text: str) -> str:
    assert text.startswith("cloudq-tui: ")
    assert text.count("\n") == 1
    return text.removeprefix("cloudq-tui: ").rstrip("\n")


def test_status_json_has_the_owners_shape(shell: Shell, operations: QueueOperations) -> None:
    operations.enqueue("email", "send-email", MAIL)
    said = shell("status", "--json")
    assert (said.status, said.err) == (0, "")
    body = json.loads(said.out)
    assert list(body) == ["timestamp", "queues", "summary"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])
    assert [queue["name"] for queue in body["queues"]] == [
        "email",
        "sms",
        "notification",
        "device-operation",
        "data-export",
        "report-generation",
        "image-processing",
        "log-processing",
    ]
    assert body["queues"][0]["counts"] == {
        "waiting": 1,
        "active": 0,
        "completed": 0,
        "failed": 0,
        "delayed": 0,
        "paused": 0,
    }
    assert list(body["summary"]) == [
        "totalQueues",
        "totalWaiting",
        "totalActive",
        "totalCompleted",
        "totalFailed",
        "totalPaused",
        "totalDelayed",
    ]
    assert (body["summary"]["totalQueues"], body["summary"]["totalWaiting"]) == (8, 1)


def test_status_says_what_is_wrong(shell: Shell, operations: QueueOperations) -> None:
    operations.enqueue("email", "send-email", MAIL)
    operations.pause_queue("sms", "provider \x1b[31mdown", timedelta(minutes=15))
    said = shell("status")
    assert said.status == 0
    assert re.search(r"^email +1 +0 ", said.out, re.MULTILINE)
    assert "! email: no live worker for 1 job" in said.out
    assert re.search(r"‖ sms: paused by tester .* resumes in 1[45]m.*: provider ␛\[31mdown", said.out)
    assert "\x1b" not in said.out


def test_a_spoiled_queue_does_not_hide_the_others(
    shell: Shell, operations: QueueOperations, connection: Connection
) -> None:
    operations.enqueue("email", "send-email", MAIL)
    problem = "WRONGTYPE, a key holds another kind of value than it must; `cloudq-tui doctor` says which"
    for key in (":d", ":m", ":t", f":h:{int(time.time()) // 60}"):
        spoiled = f"{{cloudq:sms}}{key}"
        connection.client.set(spoiled, "nonsense")
        said = shell("status")
        if key == ":t":
            assert f"! sms: {problem}" not in said.out, "no number of the overview stands there"
        else:
            assert re.search(r"^email +1 +0 .*\n^sms +- +- ", said.out, re.MULTILINE)
            assert f"! sms: {problem}" in said.out
        assert said.status == 0
        connection.client.delete(spoiled)
    connection.client.set("{cloudq:sms}:d", "nonsense")
    email, sms, *_ = json.loads(shell("status", "--json").out)["queues"]
    assert (email["counts"]["waiting"], "problem" in email) == (1, False)
    assert (sms["counts"]["waiting"], sms["problem"]) == (0, problem)
    for command in (("jobs", "sms"), ("clean", "sms", "--state", "waiting", "--yes")):
        said = shell(*command)
        assert (said.status, said.out) == (1, "")
        assert said.err.endswith("`cloudq-tui doctor` says which\n")


def test_jobs_and_job(shell: Shell, operations: QueueOperations, fail: Callable[[str], str]) -> None:
    operations.enqueue("email", "send-email", {"to": "tom@example.com", "code": "1234", "note": "\x1b]0;x\x07"})
    job_id = fail("550 no tom@example.com\x1b[2J")
    said = shell("jobs", "email", "--state", "failed")
    assert said.status == 0
    assert job_id in said.out
    assert "550 no t***@example.com␛[2J" in said.out
    assert "1 of 1 failed jobs" in said.out
    page = json.loads(shell("jobs", "email", "--state", "failed", "--json").out)
    assert (page["total"], page["jobs"][0]["jobId"]) == (1, job_id)
    said = shell("job", job_id[:10])
    assert said.status == 0
    assert "email / send-email" in said.out
    assert "t***@example.com" in said.out
    assert "1234" not in said.out.replace(job_id, "")
    assert "\x1b" not in said.out
    body = json.loads(shell("job", job_id, "--json").out)
    assert (body["state"], body["data"]["code"]) == ("failed", "***")


def test_retry_remove_promote_cancel(shell: Shell, operations: QueueOperations, fail: Callable[[str], str]) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 3)
    ids = [fail("x") for _ in range(3)]
    assert shell("retry", "email", ids[0][:10]).status == 0
    assert operations.job("email", ids[0]).state == "waiting"
    assert shell("retry", "email", "--all", "--yes").out == "2 retried\n"
    late = operations.enqueue("email", "send-email", MAIL, JobOptions(delay=timedelta(hours=1)))
    assert shell("promote", "email", late.id).status == 0
    assert operations.job("email", late.id).state == "waiting"
    assert shell("cancel", "email", late.id).out == f"{late.id} was cancelled\n"
    assert shell("remove", "email", late.id, "--yes").status == 0
    assert operations.count("email", "failed") == 0
    said = shell("cancel", "email", late.id)
    assert said.status == 1
    assert "no job's id begins with" in one_line(said.err)
    assert {entry.actor.door for entry in operations.audit()} == {"cli"}


def test_retry_wants_an_id_or_all(shell: Shell) -> None:
    for arguments in (["retry", "email"], ["retry", "email", "x", "--all"]):
        said = shell(*arguments)
        assert said.status == 2
        assert "give the id of a job, or --all" in said.err


def test_pause_takes_a_duration_or_a_reason_or_both(shell: Shell, operations: QueueOperations) -> None:
    def pause() -> tuple[str, int | None]:
        view = operations.snapshot().queue("email")
        assert view is not None
        assert view.pause is not None
        return view.pause.why, None if view.pause.until is None else view.pause.until - view.pause.since

    assert shell("pause", "email", "15m", "provider down").out == "email is paused for 15m\n"
    assert pause() == ("provider down", 900_000)
    assert shell("resume", "email").out == "email gives jobs again\n"
    assert shell("pause", "email", "disk full").status == 0
    assert pause() == ("disk full", None)
    for arguments in (["15 minutes"], ["soon", "because"], ["0"], ["--", "-5m"]):
        assert shell("pause", "email", *arguments).status in (1, 2)
    shell("resume", "email")
    assert shell("resume", "email").out == "email was not paused\n"


def test_empty_and_clean(shell: Shell, operations: QueueOperations, fail: Callable[[str], str]) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 4)
    fail("x")
    assert shell("clean", "email", "--state", "failed", "--yes").out == "0 removed\n"
    assert shell("clean", "email", "--state", "failed", "--grace", "0", "--yes").out == "1 removed\n"
    assert shell("empty", "email", "--yes").out == "3 removed\n"
    assert shell("empty", "email").out == "0 removed\n"
    assert [entry.action for entry in operations.audit()] == ["empty", "empty", "clean", "clean"]


def test_without_a_terminal_nothing_is_taken_away(shell: Shell, operations: QueueOperations) -> None:
    job = operations.enqueue("email", "send-email", MAIL)
    time.sleep(0.005)
    for arguments in (
        ["empty", "email"],
        ["remove", "email", job.id],
        ["clean", "email", "--state", "waiting", "--grace", "0"],
    ):
        said = shell(*arguments, stdin="y\n")
        assert said.status == 1
        assert "say --yes" in one_line(said.err)
    assert operations.count("email", "waiting") == 1


def test_at_a_terminal_the_safe_answer_is_no(shell: Shell, operations: QueueOperations) -> None:
    operations.enqueue("email", "send-email", MAIL)
    said = shell.at_terminal("\n", "empty", "email")
    assert (said.status, operations.count("email", "waiting")) == (1, 1)
    assert "Remove 1 job (send-email) of email?" in said.out
    assert "nothing was changed" in said.out
    assert shell.at_terminal("y\n", "empty", "email").status == 0
    assert operations.count("email", "waiting") == 0


def test_many_jobs_want_the_queues_name(shell: Shell, operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 101)
    assert shell.at_terminal("y\n", "empty", "email").status == 1
    assert operations.count("email", "waiting") == 101
    assert shell.at_terminal("email\n", "empty", "email").status == 0
    assert operations.count("email", "waiting") == 0


@pytest.mark.parametrize("arguments", [[], ["dash", "--no-worker"]])
def test_the_dashboard_opens_and_closes(shell: Shell, operations: QueueOperations, arguments: list[str]) -> None:
    operations.pause_queue("email")
    shell.environment |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none"}
    said = shell.at_terminal("q", *arguments, when=(b"log-processing",))
    assert said.status == 0
    assert "device-operation" in said.out
    assert operations.workers() == []  # a worker of its own comes with the embedded Redis only


def test_the_dashboard_brings_a_worker_to_another_redis_on_demand(shell: Shell, operations: QueueOperations) -> None:
    shell.environment |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none"}
    shell.environment |= {"XDG_DATA_HOME": str(shell.folder)}
    job = operations.enqueue("email", "send-email", MAIL)

    def ended() -> bool:
        return operations.job("email", job.id).state is JobState.FAILED

    said = shell.at_terminal("q", "dash", "--worker", when=(b"log-processing",), and_when=ended)
    assert said.status == 0
    assert "set smtp.from" in operations.job("email", job.id).error, "its worker ran the job, and says what it lacks"
    assert operations.workers() == [], "and went with the dashboard"


def test_clean_asks_for_as_many_as_it_would_take(shell: Shell, operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 5)
    assert shell("clean", "email", "--state", "waiting", "--grace", "1h").out == "0 removed, 5 skipped\n"
    asked = one_line(shell("clean", "email", "--state", "waiting", "--grace", "0").err)
    assert asked == "Remove 5 jobs (send-email) of email? Nobody is there to ask: say --yes."
    operations.enqueue_many("email", "send-email", [MAIL] * 300)
    asked = one_line(shell("clean", "email", "--state", "waiting", "--grace", "1h").err)
    assert asked == "Remove up to 305 jobs of email? Nobody is there to ask: say --yes."


def test_events_and_workers(shell: Shell, operations: QueueOperations) -> None:
    assert shell("workers").out == "no live worker\n"
    assert json.loads(shell("workers", "--json").out) == []
    job = operations.enqueue("email", "send-email", MAIL)
    assert job.id in shell("events", "email").out
    assert json.loads(shell("events", "email", "--json").out)[0]["jobId"] == job.id


def test_metrics(shell: Shell, operations: QueueOperations, fail: Callable[[str], str]) -> None:
    assert shell("metrics", "email").out == "no run has ended yet\n"
    operations.enqueue("email", "send-email", MAIL)
    fail("535 no")
    named, _, hours = shell("metrics", "email").out.partition("\n\n")
    assert re.search(r"^send-email +0 +1 +0 +0 +\S+ms", named, re.MULTILINE)
    assert re.search(r":00 +0 +1 +0 +0 +\d+ms", hours)
    told = json.loads(shell("metrics", "email", "--json").out)
    assert (told["queue"], told["jobs"][0]["name"], told["jobs"][0]["failed"]) == ("email", "send-email", 1)
    assert told["jobs"][0]["duration"].keys() == {"mean", "p50", "p95", "p99"}
    assert [minute["failed"] for minute in told["minutes"]] == [1]
    assert shell("metrics", "nope").err.startswith("cloudq-tui: no queue 'nope'")


def test_version_needs_no_redis(shell: Shell) -> None:
    said = shell("version", CLOUDQ_REDIS__URL="unix:///nowhere")
    assert said.status == 0
    assert re.fullmatch(r"\d+(\.\d+)*\S*\n", said.out)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["jobs", "nope"], "no queue 'nope'; there are email, "),
        (["job", "nope"], "no job's id begins with nope"),
        (["--read-only", "pause", "email"], "read-only"),
        (["--read-only", "empty", "email"], "read-only"),
        (["--config", "missing.yaml", "status"], "missing.yaml"),
        ([], "needs a terminal"),
        (["dash"], "needs a terminal"),
        (["demo"], "needs a terminal"),
        (["jobs", "email", "--start", "5", "--end", "4"], "0 <= start <= end"),
        (["job", os.fsdecode(b"\xff")], r"'\udcff' is no Unicode text"),
        (["job", "x" * 501], "may have 500 characters; got 501"),
    ],
)
def test_a_refusal_is_one_line_and_status_1(shell: Shell, arguments: list[str], reason: str) -> None:
    said = shell(*arguments)
    assert (said.status, said.out) == (1, "")
    assert reason in one_line(said.err)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("command", ["version", "status"])
def test_a_full_disk_is_one_line_and_status_1(shell: Shell, command: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - not a file of ours
        done = subprocess.run(
            [sys.executable, "-m", "cloudq_tui", command],
            env=shell.environment,
            cwd=shell.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert one_line(done.stderr) == "cannot write: No space left on device"


def test_a_worker_log_that_has_no_place_is_one_line(shell: Shell) -> None:
    shell.environment["CLOUDQ_REDIS__DATA_DIR"] = "/dev/null/redis"
    said = shell.at_terminal("", "--worker")
    assert said.status == 1
    assert "cloudq-tui: /dev/null: " in said.out
    assert "Traceback" not in said.out


def test_a_demo_that_has_no_place_to_write_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"the demo's folder .*file/demo: Not a directory; set XDG_DATA_HOME"):
        demo_stage(tmp_path / "file" / "demo").__enter__()


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["jobs"], ["jobs", "email", "--state", "done"], ["--nope"], ["clean", "email", "--grace", "soon"]],
)
def test_a_command_that_cannot_be_read_is_status_2(shell: Shell, arguments: list[str]) -> None:
    said = shell(*arguments)
    assert (said.status, said.out) == (2, "")
    assert "Error: " in said.err


@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1/0"])
def test_redis_away_is_one_line_soon(shell: Shell, url: str) -> None:
    began = time.monotonic()
    for arguments in (["status"], ["status", "--json"], ["pause", "email"]):
        said = shell(*arguments, CLOUDQ_REDIS__URL=url)
        assert (said.status, said.out) == (1, "")
        assert "cannot be used" in one_line(said.err)
    assert time.monotonic() - began < 20


def test_a_wrong_setting_is_one_line(shell: Shell) -> None:
    said = shell("status", CLOUDQ_API__PORT="none")
    assert said.status == 1
    assert "api.port" in one_line(said.err)


def test_the_reader_may_leave(shell: Shell, operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 400)
    process = shell.start("jobs", "email", "--end", "399", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(20) == 1


def test_serve_answers_until_interrupted(shell: Shell, operations: QueueOperations) -> None:
    shell.environment["CLOUDQ_API__PORT"] = "0"
    process = shell.start("serve")
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", line)
    assert found, line
    url = found.group(1)
    assert httpx.get(f"{url}/queues/status").json()["summary"]["totalQueues"] == 8
    sent = httpx.post(f"{url}/queues/test/send-email", json=MAIL | {"html": "<p>Hi</p>"})
    assert sent.status_code == 202, sent.text
    assert operations.count("email", "waiting") == 1
    assert httpx.post(f"{url}/queues/test/send-email", json={"to": "no address"}).status_code == 422
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_serve_stays_on_loopback(shell: Shell, host: str) -> None:
    said = shell("serve", CLOUDQ_API__HOST=host)
    assert said.status == 1
    assert "not loopback" in one_line(said.err)


def test_the_config_file_is_read(shell: Shell, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("queues:\n  billing: {}\n")
    body = json.loads(shell("--config", "mine.yaml", "status", "--json").out)
    assert body["queues"][-1]["name"] == "billing"
    assert shell("--config", "mine.yaml", "pause", "billing").status == 0


def test_status_starts_cheaply(shell: Shell, redis_url: str) -> None:
    """No task module, no web framework, no Textual, no Huey."""
    code = (
        "import sys; from cloudq_tui.cli.app import run; status = run(['status']);"
        "heavy = {'textual', 'fastapi', 'uvicorn', 'tasks', 'huey', 'docker', 'adbutils', 'httpx'};"
        "print(status, sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=shell.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"

"""A real consumer: killed in the middle of a batch, and facing peers that accept and stay silent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from cloudq_tui.models.job import JobOptions, JobPriority, JobState
from tasks.service import QueueService

ROOT = Path(__file__).parents[3]
OVER = {JobState.COMPLETED, JobState.FAILED}
COUNT = 30


@pytest.fixture
def environment(
    redis_url: str, peer: Any, silent_peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    silent = f"127.0.0.1:{silent_peer().port}"
    settings = {
        "REDIS_URL": redis_url,
        "CLOUDQ_WORKER__LEASE": "2",
        "CLOUDQ_SMS__PROVIDER": "twilio",
        "CLOUDQ_SMS__MAX_PER_MINUTE": "1000",
        "CLOUDQ_SMS__TIMEOUT": "60",
        "CLOUDQ_SMS__PROVIDERS__TWILIO__ENDPOINT": peer.url,
        "CLOUDQ_SMS__PROVIDERS__TWILIO__ACCOUNT_SID": "AC1",
        "CLOUDQ_SMS__PROVIDERS__TWILIO__AUTH_TOKEN": "token",
        "CLOUDQ_SMS__PROVIDERS__TWILIO__FROM": "+15005550006",
        "CLOUDQ_SMS__PROVIDERS__ALIYUN__ENDPOINT": f"http://{silent}",
        "CLOUDQ_SMS__PROVIDERS__ALIYUN__ACCESS_KEY_ID": "id",
        "CLOUDQ_SMS__PROVIDERS__ALIYUN__ACCESS_KEY_SECRET": "secret",
        "CLOUDQ_SMS__PROVIDERS__ALIYUN__SIGN_NAME": "sign",
        "CLOUDQ_SMS__PROVIDERS__ALIYUN__TEMPLATES__MESSAGE": "SMS_1",
        "CLOUDQ_NOTIFICATION__TIMEOUT": "60",
        "CLOUDQ_NOTIFICATION__TARGETS__SILENT_CHAT": f"json://{silent}",
        "CLOUDQ_NOTIFICATION__WEBHOOKS__CRM__URL": peer.url,
        "CLOUDQ_NOTIFICATION__WEBHOOKS__CRM__SECRET": "key",
        "CLOUDQ_NOTIFICATION__WEBHOOKS__SILENT_HOOK__URL": f"http://{silent}",
        "CLOUDQ_NOTIFICATION__WEBHOOKS__SILENT_HOOK__SECRET": "key",
        "PYTHONPATH": str(ROOT),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def start_consumer(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    binary = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert binary is not None
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "consumer.log").open("ab") as log:
            command = [binary, "tasks.huey", "-w", "4", *options]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 45
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def test_killed_batches_go_on_and_repeat_at_most_what_was_in_flight(
    start_consumer: Callable[..., Any], peer: Any, tmp_path: Path
) -> None:
    log = tmp_path / "consumer.log"
    reply = type(peer.answer(None))

    def slowly(_: Any) -> Any:
        time.sleep(0.03)
        return reply(201, {"sid": "SM1"})

    peer.answer = slowly
    notes = [{"targets": "crm", "body": f"n{number}", "kind": "payment"} for number in range(COUNT)]
    with QueueService() as service:
        [texts] = service.send_batch_sms([{"phone": f"138001380{n:02}", "message": "x"} for n in range(COUNT)])
        told = service.enqueue("notification", "send-batch-notification", {"notifications": notes})
        assert service.job("notification", told.id).priority == JobPriority.CRITICAL
        first = start_consumer()
        wait_until(lambda: len(peer.received) >= 16, log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        start_consumer()
        wait_until(lambda: service.job("sms", texts.id).state in OVER, log)
        wait_until(lambda: service.job("notification", told.id).state in OVER, log)
        jobs = [service.job("sms", texts.id), service.job("notification", told.id)]
    assert [(job.state, job.stalled, job.result["sent"]) for job in jobs] == [(JobState.COMPLETED, 1, COUNT)] * 2
    hooks = Counter(one.headers["webhook-id"] for one in peer.received if "webhook-id" in one.headers)
    assert set(hooks) == {f"{told.id}.{n}" for n in range(COUNT)}
    assert hooks.total() <= COUNT + 1
    numbers = Counter(parse_qs(one.body.decode())["To"][0] for one in peer.received if "webhook-id" not in one.headers)
    assert set(numbers) == {f"+86138001380{n:02}" for n in range(COUNT)}
    assert numbers.total() <= COUNT + 1


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_silent_peers_end_as_timeouts(start_consumer: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    log = tmp_path / "consumer.log"
    once = JobOptions(retries=0, timeout=timedelta(seconds=1))
    with QueueService() as service:
        jobs = [
            service.enqueue("notification", "send-notification", {"targets": target, "body": "x"}, once)
            for target in ("silent_chat", "silent_hook")
        ]
        jobs.append(service.send_sms(phone="13800138000", message="x", provider="aliyun", options=once))
        start_consumer("-k", kind)
        for job in jobs:
            wait_until(lambda job=job: service.job(job.queue, job.id).state in OVER, log)  # type: ignore[misc]
        ended = [service.job(job.queue, job.id) for job in jobs]
    for job in ended:
        assert (job.state, "timeout" in job.error) == (JobState.FAILED, True), job.error
        assert job.processed_on is not None
        assert job.finished_on is not None
        assert job.finished_on - job.processed_on < 4000  # one second, and loading apprise on a busy machine

"""A real consumer, killed in the middle of a batch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.models.job import JobState
from tasks.clients.smtp import SmtpServer
from tasks.service import QueueService

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(redis_url: str, server: SmtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    settings = {
        "REDIS_URL": redis_url,
        "CLOUDQ_WORKER__LEASE": "2",
        "CLOUDQ_SMTP__HOST": server.host,
        "CLOUDQ_SMTP__PORT": str(server.port),
        "CLOUDQ_SMTP__TLS": "none",
        "CLOUDQ_SMTP__FROM": "no-reply@acme.example",
        "PYTHONPATH": str(ROOT),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def start_consumer(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    binary = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert binary is not None
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "consumer.log").open("ab") as log:
            command = [binary, "tasks.huey", "-w", "2"]
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


def test_a_killed_batch_goes_on_and_repeats_at_most_the_mail_in_flight(
    environment: dict[str, str], start_consumer: Callable[[], Any], mailbox: Any, tmp_path: Path
) -> None:
    log = tmp_path / "consumer.log"
    mailbox.refuse["user3@example.com"] = "550 no such user"
    mailbox.on_data = lambda _: time.sleep(0.03)
    with QueueService() as service:
        [batch] = service.send_batch_email(
            [{"to": f"user{number}@example.com", "subject": "x"} for number in range(40)]
        )
        first = start_consumer()
        wait_until(lambda: len(mailbox.envelopes) >= 10, log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert service.job("email", batch.id).state is JobState.ACTIVE
        start_consumer()
        wait_until(lambda: service.job("email", batch.id).state is not JobState.ACTIVE, log)
        wait_until(lambda: service.job("email", batch.id).state in {JobState.COMPLETED, JobState.FAILED}, log)
        job = service.job("email", batch.id)
    assert (job.state, job.stalled) == (JobState.COMPLETED, 1)
    assert (job.result["sent"], job.result["failed"], len(job.result["outcomes"])) == (39, 1, 40)
    arrived = Counter(
        (to, str(message["message-id"])) for (to,), message in zip(mailbox.recipients, mailbox.messages, strict=True)
    )
    assert {to for to, _ in arrived} == {f"user{n}@example.com" for n in range(40) if n != 3}
    assert len(arrived) == 39, "a mail went out under two Message-IDs"
    assert arrived.total() <= 40

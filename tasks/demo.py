"""The scenery of `cloudq-tui demo`: a mail server on loopback that behaves like the world, and a stream of jobs.

The jobs are real: they go through the engine, a worker process and the SMTP client. Only the far ends are ours: the
mail server below, and the sandbox provider that writes text messages to a file.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from cloudq_tui.bootstrap import Runtime, default_actor
from cloudq_tui.errors import CloudqError
from cloudq_tui.models.job import JobOptions, JobPriority
from tasks import demo_shop
from tasks.demo_devices import DeviceFeed, device_environment
from tasks.demo_files import FileFeed, file_environment
from tasks.demo_receiver import notice, receiver
from tasks.queues import data_export, notification, report_generation
from tasks.service import QueueService

GOOD, SLOW, FLAKY, BUSY, UNKNOWN = (f"{kind}.example" for kind in ("good", "slow", "flaky", "busy", "unknown"))
_NAMES = (
    "ada",
    "alan",
    "barbara",
    "edsger",
    "grace",
    "ken",
    "leslie",
    "margaret",
    "niklaus",
    "radia",
    "tim",
    "tony",
)
_FLAKY_REFUSALS = 2  # attempts that a flaky mailbox refuses before it takes the mail


class _MailWorld:
    """Answers by the recipient's domain: at once, slowly, after some tries, not today, or never."""

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        domain = address.rpartition("@")[2]
        if domain == UNKNOWN:
            return "550 5.1.1 no such mailbox"
        if domain == BUSY:
            return "451 4.3.2 the mailbox is busy, try again later"
        if domain == FLAKY and self._refused[address] < _FLAKY_REFUSALS:
            self._refused[address] += 1
            return "451 4.7.1 greylisted, try again soon"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        slow = any(address.endswith(SLOW) for address in envelope.rcpt_tos)
        await asyncio.sleep(random.uniform(2.0, 6.0) if slow else random.uniform(0.05, 0.3))  # noqa: S311 - pace
        return "250 2.0.0 taken"


@dataclass(frozen=True, slots=True)
class Scenery:
    """The environment that a worker and a producer of the demo need."""

    environment: dict[str, str]


@contextmanager
def scenery(folder: Path) -> Iterator[Scenery]:
    """Run the mail server on a free loopback port while the block runs; `folder` takes the sandbox's outbox."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(_MailWorld(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with receiver() as notified, device_environment(folder) as devices:
            yield Scenery(
                {
                    "CLOUDQ_SMTP__HOST": "127.0.0.1",
                    "CLOUDQ_SMTP__PORT": str(port),
                    "CLOUDQ_SMTP__TLS": "none",
                    "CLOUDQ_SMTP__FROM": "Cloud phones <noreply@demo.example>",
                    "CLOUDQ_SMS__PROVIDER": "sandbox",
                    "CLOUDQ_SMS__PROVIDERS__SANDBOX__OUTBOX": str(folder / "outbox.jsonl"),
                    "CLOUDQ_SMS__MAX_PER_MINUTE": "600",
                    **file_environment(folder),
                    **notified,
                    **devices,
                    **demo_shop.shop(folder),
                }
            )
    finally:
        controller.stop()


class Feeder:
    """Adds a seeded mix of jobs from a thread of its own until stopped; a Redis that is away is waited for."""

    def __init__(self, service: QueueService, *, seed: int = 7, pause: float = 1.5) -> None:
        self._service = service
        self._random = random.Random(seed)  # noqa: S311 - a scene to repeat, not a secret
        self._files = FileFeed(service, self._random)
        self._devices = DeviceFeed(service, self._random)
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-feeder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        self._try(self.opening)
        while not self._stop.wait(self._pause):
            self._try(self.round)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except CloudqError:
            self._stop.wait(self._pause)

    def opening(self) -> None:
        """Something true for every screen: a backlog, a long batch, failures, delayed and scheduled jobs."""
        soon = datetime.now(UTC) + timedelta(minutes=2)
        self._service.send_batch_email([self._mail(GOOD) for _ in range(60)])
        for domain in [GOOD] * 20 + [SLOW] * 4 + [FLAKY] * 3 + [BUSY] * 3 + [UNKNOWN] * 2:
            self._service.send_email(**self._mail(domain))
        for wait in (20, 45, 90, 300):
            self._service.send_email(**self._mail(GOOD), options=JobOptions(delay=timedelta(seconds=wait)))
        self._service.send_scheduled_email(**self._mail(GOOD), scheduled_time=soon)
        self._service.send_batch_sms([self._text() for _ in range(25)])
        for _ in range(15):
            self._service.send_sms(**self._text())
        self._codes(3)
        for _ in range(4):
            self._export()
            self._report()
        self._files.opening()
        self._devices.opening()

    def round(self) -> None:
        """What one pause brings."""
        for _ in range(self._random.randint(1, 6)):
            domain = self._random.choices((GOOD, SLOW, FLAKY, BUSY, UNKNOWN), weights=(78, 10, 6, 3, 3))[0]
            self._service.send_email(**self._mail(domain))
        for _ in range(self._random.randint(0, 4)):
            self._service.send_sms(**self._text())
        if self._random.random() < 0.5:
            self._codes(self._random.choices((1, 3), weights=(19, 1))[0])
        for _ in range(self._random.randint(0, 2)):
            self._notify()
        self._files.round()
        self._devices.round()
        if self._random.random() < 0.08:
            self._export()
        if self._random.random() < 0.03:
            self._report()
        if self._random.random() < 0.05:
            low = JobOptions(priority=int(JobPriority.LOW))
            self._service.send_batch_email([self._mail(GOOD) for _ in range(self._random.randint(20, 60))], low)

    def _export(self) -> None:
        if not data_export.QUEUE.missing():
            self._service.enqueue("data-export", "export-data", demo_shop.export(self._random))

    def _report(self) -> None:
        if not report_generation.QUEUE.missing():
            self._service.generate_report(demo_shop.report(self._random))

    def _notify(self) -> None:
        if not notification.QUEUE.missing():
            self._service.send_notification(**notice(self._random))

    def _mail(self, domain: str) -> dict[str, Any]:
        name = self._random.choice(_NAMES)
        return {
            "to": f"{name}.{self._random.randrange(1000)}@{domain}",
            "subject": "Your cloud phone is ready",
            "html": f"<h1>Hello {name.title()}</h1><p>Your device is waiting for you.</p>",
        }

    def _text(self) -> dict[str, Any]:
        return {"phone": self._phone(), "message": "Your cloud phone will be restarted at 02:00."}

    def _codes(self, count: int) -> None:
        """Codes for one number, valid for a minute. One a minute goes out: the others are too old by then and fail."""
        phone = self._phone()
        for _ in range(count):
            self._service.send_verification_code(phone, f"{self._random.randrange(10**6):06}", 1)

    def _phone(self) -> str:
        return f"138{self._random.randrange(10**8):08}"


def feeder(runtime: Runtime) -> Feeder:
    """A feeder for the runtime's Redis, under the environment of the scenery."""
    return Feeder(QueueService(runtime, actor=default_actor("python")))

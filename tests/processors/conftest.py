"""A job context that keeps what it is told, and real SMTP servers on loopback."""

from __future__ import annotations

import asyncio
import copy
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from cloudq_tui.errors import Cancelled, Deferred, LeaseLost
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.smtp import SmtpServer


class Limits:
    """A sliding window per key, shared by the jobs of one test as Redis is by those of a platform."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}
        self.now = time.time

    def take(self, key: str, count: int, per: float) -> float:
        now = self.now()
        within = [at for at in self.taken.get(key, []) if at > now - per]
        self.taken[key] = within
        if len(within) >= count:
            return within[0] + per - now
        within.append(now)
        return 0.0


@dataclass
class RecordingJob:
    """JobContext in memory. `again()` is the next run of the same job; `die_after` loses the lease then."""

    id: str = "job-1"
    queue: str = "email"
    name: str = "send-email"
    attempt: int = 1
    retries_left: int = 3
    limits: Limits = field(default_factory=Limits)
    last_checkpoint: Any = None
    checkpoints: list[Any] = field(default_factory=list)
    progress: list[tuple[int, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    cancelled: bool = False
    scrubbed: Any = None
    die_after: int | None = None
    time_remaining: float = math.inf

    def update_progress(self, percent: float, step: str = "") -> None:
        self.check()
        self.progress.append((round(percent), step))

    def log(self, text: str) -> None:
        self.lines.append(text)

    def checkpoint(self, data: Any) -> None:
        self.last_checkpoint = copy.deepcopy(data)
        self.checkpoints.append(self.last_checkpoint)

    def scrub(self, data: Any) -> None:
        self.scrubbed = data

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled("cancelled by test")
        if self.die_after is not None and len(self.checkpoints) >= self.die_after:
            raise LeaseLost("killed here")

    def defer(self, delay: float, reason: str) -> None:
        raise Deferred(delay, reason)

    def limit(self, key: str, count: int, per: float) -> float:
        return self.limits.take(key, count, per)

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        yield True

    def again(self, **changes: Any) -> RecordingJob:
        kept = {"id": self.id, "limits": self.limits, "last_checkpoint": copy.deepcopy(self.last_checkpoint)}
        return RecordingJob(**(kept | changes))


class Mailbox:
    """What a test server received, and how it behaves: codes by recipient, and a hook before each mail."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.connections: set[Any] = set()
        self.refuse: dict[str, str] = {}
        self.on_data: Callable[[Envelope], str | None] = lambda _: None

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections.add(session.peer)
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.on_data(envelope)
        if answer == "drop":
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
            return "421 gone"
        if answer:
            return answer
        self.envelopes.append(envelope)
        return "250 2.0.0 accepted"

    @property
    def messages(self) -> list[EmailMessage]:
        contents = [e.content for e in self.envelopes if isinstance(e.content, bytes)]
        parsed = [message_from_bytes(content, policy=policy.default) for content in contents]
        return [message for message in parsed if isinstance(message, EmailMessage)]

    @property
    def recipients(self) -> list[list[str]]:
        return [list(envelope.rcpt_tos) for envelope in self.envelopes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """A server on a free port; another process may grab the port between the look and the bind."""
    for _ in range(20):
        controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **options)
        try:
            controller.start()
        except OSError:
            continue
        try:
            yield controller.port
        finally:
            controller.stop()
        return
    raise AssertionError("no free port")


@pytest.fixture
def job() -> RecordingJob:
    return RecordingJob()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[SmtpServer]:
    """A plain server that takes everything `mailbox` lets through."""
    with serving(mailbox, enable_SMTPUTF8=True) as port:
        yield SmtpServer("127.0.0.1", port, tls="none", timeout=5, sender="Acme <no-reply@acme.example>")


@pytest.fixture
def ascii_server(mailbox: Mailbox) -> Iterator[SmtpServer]:
    """A server that knows no SMTPUTF8."""
    with serving(mailbox, enable_SMTPUTF8=False) as port:
        yield SmtpServer("127.0.0.1", port, tls="none", timeout=5, sender="no-reply@acme.example")


@pytest.fixture
def files(tmp_path: Path) -> AttachmentFiles:
    root = tmp_path / "attachments"
    root.mkdir()
    return AttachmentFiles([root], max_size=1000)


@dataclass(frozen=True)
class Certificates:
    ca_file: Path
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Certificates(ca_file, context)


def _check_login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"mailer", b"s3cret")
    return AuthResult(success=good, handled=False)


@pytest.fixture
def secure_server(mailbox: Mailbox, certificates: Certificates) -> Iterator[SmtpServer]:
    """STARTTLS and AUTH required, as a submission port has it."""
    options = {
        "tls_context": certificates.context,
        "require_starttls": True,
        "authenticator": _check_login,
        "auth_required": True,
        "enable_SMTPUTF8": True,
    }
    with serving(mailbox, **options) as port:
        yield SmtpServer(
            "127.0.0.1",
            port,
            username="mailer",
            password="s3cret",
            timeout=5,
            sender="no-reply@acme.example",
            ca_file=certificates.ca_file,
        )


@pytest.fixture
def tls_server(mailbox: Mailbox, certificates: Certificates) -> Iterator[SmtpServer]:
    """TLS from the first byte."""

    controller: Controller | None = None
    for _ in range(20):
        controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), ssl_context=certificates.context)
        with suppress(OSError):
            controller.start()
            break
    assert controller is not None
    try:
        yield SmtpServer(
            "127.0.0.1",
            controller.port,
            tls="tls",
            timeout=5,
            sender="no-reply@acme.example",
            ca_file=certificates.ca_file,
        )
    finally:
        controller.stop()


class SilentPeer:
    """Accepts, says `greeting` if any, and nothing after."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._greeting = greeting
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._accepted)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._accepted.append(peer)
            with suppress(OSError):
                peer.sendall(self._greeting)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for peer in self._accepted:
            peer.close()


@pytest.fixture
def silent_peer() -> Iterator[Callable[..., SilentPeer]]:
    started: list[SilentPeer] = []

    def start(greeting: bytes = b"") -> SilentPeer:
        started.append(SilentPeer(greeting))
        return started[-1]

    yield start
    for peer in started:
        peer.close()

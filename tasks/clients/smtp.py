"""A narrow, blocking client of one SMTP server, over aiosmtplib on an event loop of its own.

Sorts every fault: TemporaryFailure may pass by itself (timeouts, lost connections, 4xx), PermanentFailure
will not (5xx, settings), and a refused login stays aiosmtplib's SMTPAuthenticationError, an ordinary error that
uses the job's retries, since credentials are mended while jobs wait.
"""

from __future__ import annotations

import asyncio
import functools
import math
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import aiosmtplib

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from tasks.contacts import peer_words

T = TypeVar("T")
LoginRefused = aiosmtplib.SMTPAuthenticationError
GOODBYE = 2.0  # seconds a server gets to answer QUIT; the mail is out by then
SLOWEST = 50_000  # bytes per second below which a large mail counts as stuck


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server said: `refused` has (address, code, reason) of each recipient not taken."""

    reply: str
    refused: tuple[tuple[str, int, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail goes out. `timeout` in seconds; `sender` is the From of mails that name none."""

    host: str
    port: int = 587
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Literal["none", "starttls", "tls"] = "starttls"
    timeout: float = 10.0
    sender: str = ""
    ca_file: Path | None = None

    def session(self, time_remaining: Callable[[], float] = lambda: math.inf) -> SmtpSession:
        """A session that connects when asked to; `time_remaining` bounds every wait (seconds)."""
        return SmtpSession(self, time_remaining)


class SmtpSession:
    """One connection for any number of mails. Not thread-safe: one session belongs to one run of one job."""

    def __init__(self, server: SmtpServer, time_remaining: Callable[[], float]) -> None:
        self._server = server
        self._time_remaining = time_remaining
        self._loop = asyncio.new_event_loop()
        self._smtp: aiosmtplib.SMTP | None = None
        self._transport: asyncio.BaseTransport | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        return self._smtp is not None and self._smtp.is_connected

    def connect(self) -> None:
        """Connect, encrypt and log in unless that stands already.

        What this raises concerns every mail: TemporaryFailure, PermanentFailure or SMTPAuthenticationError.
        """
        if self.connected:
            return
        self._drop()
        server = self._server
        if not server.host:
            raise PermanentFailure("smtp.host is not set: no mail can be sent (CLOUDQ_SMTP__HOST)")
        limit = self._limit(server.timeout)
        encrypted = server.tls != "none"
        self._smtp = smtp = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=_own_name(),
            timeout=limit,
            use_tls=server.tls == "tls",
            start_tls=False,
            tls_context=_tls_context(server.ca_file) if encrypted else None,
        )
        self._run(self._open(smtp), limit, limit)

    async def _open(self, smtp: aiosmtplib.SMTP) -> None:
        """Step by step: aiosmtplib would let go of the transport on a fault, and leave its socket open."""
        await smtp.connect()
        self._transport = smtp.transport
        if self._server.tls == "starttls":
            await smtp.starttls()
            self._transport = smtp.transport
        if self._server.username:
            await smtp.login(self._server.username, self._server.password)

    def send(self, message: EmailMessage, sender: str, recipients: Sequence[str], size: int = 0) -> Delivery:
        """Hand one mail over; `size` in bytes widens the wait for large ones.

        What this raises concerns this mail; look at `connected` to see whether the connection is lost too.
        """
        if self._smtp is None:
            raise TemporaryFailure(f"not connected to {self._place}")
        step = self._limit(self._server.timeout + size / SLOWEST)
        refused, reply = self._run(
            self._smtp.send_message(message, sender=sender, recipients=list(recipients), timeout=step),
            step,
            self._limit(math.inf),
        )
        return Delivery(
            reply=peer_words(reply),
            refused=tuple((to, why.code, peer_words(why.message)) for to, why in refused.items()),
        )

    def close(self) -> None:
        """Say goodbye if the server still listens. Never raises: what was sent stays sent."""
        if self._loop.is_closed():
            return
        if self._smtp is not None and self.connected:
            with suppress(aiosmtplib.SMTPException, OSError, ValueError):
                self._loop.run_until_complete(self._smtp.quit(timeout=min(GOODBYE, self._server.timeout)))
        self._drop()
        # Not Runner.close(): that one waits for a name lookup that hangs in the executor's thread.
        self._loop.close()

    @property
    def _place(self) -> str:
        return f"{self._server.host}:{self._server.port}"

    def _limit(self, wanted: float) -> float:
        return max(0.05, min(wanted, self._time_remaining()))

    def _run(self, work: Coroutine[Any, Any, T], step: float, whole: float) -> T:
        """Run `work` at most `whole` seconds; each of its waits is bound by `step` already."""
        try:
            return self._loop.run_until_complete(asyncio.wait_for(work, None if math.isinf(whole) else whole))
        except aiosmtplib.SMTPAuthenticationError as error:
            if 400 <= error.code < 500:
                raise self._answer(error.code, error.message) from error
            raise
        except (aiosmtplib.SMTPException, OSError, ValueError, TimeoutError) as error:
            # 421 announces that the server closes the connection (RFC 5321 3.8), if not how soon.
            if not self.connected or isinstance(error, TimeoutError) or getattr(error, "code", 0) == 421:
                self._drop()
            raise self._fault(error, step) from error
        except BaseException:
            self._drop()
            raise

    def _fault(self, error: Exception, limit: float) -> JobSignal:
        fault: JobSignal
        match error:
            case TimeoutError():
                fault = TemporaryFailure(f"timeout: {self._place} ({limit:g}s)")
            case aiosmtplib.SMTPRecipientsRefused():
                # Nobody has got it yet, so one that may pass later is worth another try of the whole mail.
                first = min(error.recipients, key=lambda refusal: refusal.code)
                fault = self._answer(first.code, first.message)
            case aiosmtplib.SMTPResponseException():
                fault = self._answer(error.code, error.message)
            case OSError():
                fault = self._unreachable(error)
            case aiosmtplib.SMTPException() if "AUTH extension" in str(error):
                hint = "set smtp.tls to starttls or tls, or no smtp.username"
                fault = PermanentFailure(f"{self._place} offers no login on this connection: {hint}")
            case aiosmtplib.SMTPException() if "STARTTLS" in str(error):
                fault = PermanentFailure(f"{self._place} offers no STARTTLS: set smtp.tls to tls or none")
            case _:
                fault = PermanentFailure(peer_words(str(error)))
        return fault

    def _unreachable(self, error: OSError) -> JobSignal:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = peer_words(cause.verify_message)
            return PermanentFailure(f"certificate of {self._place} not trusted: {reason} (see smtp.ca_file)")
        if isinstance(cause, ssl.SSLError):
            return TemporaryFailure(f"no TLS with {self._place}: {cause.reason or 'handshake failed'}")
        reason = peer_words(cause.strerror or str(cause) or type(cause).__name__)
        return TemporaryFailure(f"cannot reach {self._place}: {reason}")

    @staticmethod
    def _answer(code: int, message: str) -> JobSignal:
        line = f"{code} {peer_words(message)}"
        return TemporaryFailure(line) if 400 <= code < 500 else PermanentFailure(line)

    def _drop(self) -> None:
        """Forget the connection at once; an orderly TLS shutdown would wait for a silent peer."""
        if self._smtp is None:
            return
        transport = self._transport
        self._smtp.close()
        self._smtp = self._transport = None
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        self._loop.run_until_complete(_settle())


async def _settle() -> None:
    """Let the loop run the callbacks that free the sockets."""
    for _ in range(3):
        await asyncio.sleep(0)


@functools.lru_cache(maxsize=4)
def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Shared by all sessions: reading the system's certificates takes longer than sending a mail."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise PermanentFailure(f"smtp.ca_file cannot be read: {error.strerror or error}") from None
    return context


@functools.cache
def _own_name() -> str:
    """The name for EHLO; getfqdn() would ask a name server that may be silent."""
    name = socket.gethostname().strip()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"

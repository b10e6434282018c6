"""One HTTP request and its whole answer within a time that no peer can stretch, over httpx.

httpx bounds each wait; a peer that sends a byte at a time would hold a worker for hours. So the call runs on an
event loop of its own and is given up as a whole. Redirects are not followed: an answer comes from the endpoint
that the settings name, or not at all. httpx is loaded by the first call: producers import this too.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from cloudq_tui.errors import TemporaryFailure

# Their lines carry the URL of every request, and so phone numbers, codes and tokens.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

LARGEST_ANSWER = 1024 * 1024
LONGEST_WAIT = 24 * 3600.0
_TOO_BUSY = frozenset({408, 425, 429})


class Unanswered(TemporaryFailure):
    """The peer could not be reached, stayed silent, or broke off; whether it acted is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def broken(self) -> bool:
        """The peer itself is in trouble (5xx)."""
        return self.status >= 500

    @property
    def busy(self) -> bool:
        """The peer asks to come again later."""
        return self.status in _TOO_BUSY

    @property
    def retry_after(self) -> float | None:
        """Seconds by the Retry-After header (RFC 9110 10.2.3: a number or a date), at most a day."""
        given = self.headers.get("retry-after", "").strip()
        if given.isascii() and given.isdigit():
            return min(float(given[:12]), LONGEST_WAIT)
        try:
            at = parsedate_to_datetime(given)
        except (ValueError, OverflowError):
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
        return min(max(0.0, wait.total_seconds()), LONGEST_WAIT)


def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes = b"",
    timeout: float,
    peer: str,
) -> Answer:
    """Send one request and read its answer, all within `timeout` seconds.

    Raises Unanswered; its text names the peer as `peer`, never by the URL.
    """
    import httpx  # noqa: PLC0415 - see above

    limit = max(0.05, timeout)
    loop = asyncio.new_event_loop()
    try:
        # Unpacked by nobody: a few bytes could become any number.
        work = _exchange(method, url, {**headers, "accept-encoding": "identity"}, content, limit)
        return loop.run_until_complete(asyncio.wait_for(work, limit))
    except (TimeoutError, httpx.TimeoutException):
        raise Unanswered(f"timeout: {peer} ({limit:g}s)") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Unanswered(f"cannot reach {peer}: {_reason(error)}") from None
    except BaseExceptionGroup as group:
        # A worker's alarm went off inside the library's own tasks, which wrap what they meet.
        faults = _inner(group)
        raise next((one for one in faults if not isinstance(one, httpx.HTTPError | OSError)), faults[0]) from None
    finally:
        _close(loop)


async def _exchange(method: str, url: str, headers: dict[str, str], content: bytes, limit: float) -> Answer:
    import httpx  # noqa: PLC0415 - see above

    async with (
        httpx.AsyncClient(verify=_trusted(), timeout=limit, follow_redirects=False) as client,
        client.stream(method, url, headers=headers, content=content) as response,
    ):
        body = bytearray()
        raw = cast("AsyncGenerator[bytes]", response.aiter_raw())  # which it is, though declared as less
        async with aclosing(raw) as chunks:  # broken off or not, closed before the loop is
            async for chunk in chunks:
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise httpx.ReadError("the answer is too long")
        names: Mapping[str, Any] = response.headers
        return Answer(response.status_code, {name.lower(): names[name] for name in names}, bytes(body))


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Not Runner.close(): that one waits for a name lookup that hangs in the executor's thread."""
    left = asyncio.all_tasks(loop)
    for task in left:  # an alarm broke the loop off; their sockets are closed by their end
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=0.3))
    loop.close()


def _inner(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [one for part in error.exceptions for one in _inner(part)]


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Shared by all calls: reading the certificates takes longer than a request."""
    import httpx  # noqa: PLC0415 - see above

    return httpx.create_ssl_context()


def _reason(error: Exception) -> str:
    """The kind of fault in words of our own: the library's may repeat the address."""
    import httpx  # noqa: PLC0415 - see above

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "no TLS connection"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    kinds = {
        httpx.ConnectError: "no connection",
        httpx.InvalidURL: "its address is not a URL",
        httpx.UnsupportedProtocol: "its address is not a URL",
        httpx.RemoteProtocolError: "it broke the connection off",
        httpx.ReadError: "it broke the connection off",
    }
    return next((words for kind, words in kinds.items() if isinstance(error, kind)), type(error).__name__)

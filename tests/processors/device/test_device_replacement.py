"""A start makes another container: what is left of the one before, and of the data, whatever happens on the way."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the servers stand beside the tests

from cloudq_tui.errors import LeaseLost, PermanentFailure, TemporaryFailure
from tasks.clients.docker_engine import Engine
from tasks.device_host import DeviceHost
from tasks.payloads import parse_payload
from tasks.payloads.device_operation import ResetDevice, StartDevice, StopDevice
from tasks.processors.device_operation import reset_device, start_device, stop_device

pytestmark = pytest.mark.xdist_group("docker")


def start(device: str = "device-001", **params: Any) -> StartDevice:
    return parse_payload(StartDevice, {"deviceId": device, "params": params})


def stop(device: str = "device-001") -> StopDevice:
    return parse_payload(StopDevice, {"deviceId": device})


def states(engine: Any) -> list[tuple[str, str]]:
    """Every container of a device: its name and its state."""
    found = engine.containers(all=True, filters={"label": "cloudq.device"})
    return sorted((one["Names"][0].removeprefix("/"), one["State"]) for one in found)


@pytest.fixture
def stopped(make_host: Callable[..., DeviceHost], make_job: Callable[..., Any]) -> DeviceHost:
    """A host with one device, stopped, that is unlike the defaults."""
    host: DeviceHost = make_host()
    start_device(start(dpi=480, memory="128m"), make_job("before"), host=host)
    stop_device(stop(), make_job("stop"), host=host)
    return host


def refused(host: DeviceHost, job: Callable[..., Any]) -> None:
    with pytest.raises(PermanentFailure, match="Minimum memory limit"):
        start_device(start(memory=1), job("other"), host=host)


def never_up(host: DeviceHost, job: Callable[..., Any]) -> None:
    broken = replace(host, rules=replace(host.rules, boot_args=("phone.boot=never",), boot_timeout=1))
    with pytest.raises(TemporaryFailure, match="was not ready"):
        start_device(start(dpi=160, memory="64m"), job("other"), host=broken)


def killed_when_booked(host: DeviceHost, job: Callable[..., Any]) -> None:
    killed = job("other", die_at="container")
    with pytest.raises(LeaseLost):
        start_device(start(dpi=160, memory="64m"), killed, host=host)
    # The next start of any device gives back what it had booked.
    start_device(start("device-002"), job("next"), host=host)
    stop_device(stop("device-002"), job("last"), host=host)


@pytest.mark.parametrize("fault", [refused, never_up, killed_when_booked])
def test_a_start_that_fails_leaves_the_device_as_it_was(
    fault: Callable[..., None], stopped: DeviceHost, engine: Any, make_job: Callable[..., Any]
) -> None:
    fault(stopped, make_job)
    mine = engine.containers(all=True, filters={"label": "cloudq.device=device-001"})
    assert [one["State"] for one in mine] == ["exited"]
    again = start_device(start(), make_job("after"), host=stopped)
    assert (again["dpi"], again["memory"]) == (480, 128 * 1024**2)
    assert ("cloudq-device-001", "running") in states(engine)
    mine = engine.containers(all=True, filters={"label": "cloudq.device=device-001"})
    assert [one["State"] for one in mine] == ["running"], "the one before is gone"


def test_a_new_device_leaves_nothing_however_often_its_start_died(
    make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any]
) -> None:
    host = make_host(boot_args=("phone.boot=never",), boot_timeout=1)
    killed = make_job(die_at="container")
    with pytest.raises(LeaseLost):
        start_device(start(), killed, host=host)
    host.data.ensure("device-002")  # as a start leaves it that is killed ahead of its container
    for device, job in (("device-001", killed.again()), ("device-002", make_job("job-2"))):
        with pytest.raises(TemporaryFailure, match="was not ready"):
            start_device(start(device), job, host=host)
        assert not host.data.holds(device)
    assert states(engine) == []


def test_a_reset_tried_again_wipes_what_another_start_put_there(
    host: DeviceHost, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    start_device(start(), make_job(), host=host)
    payload = parse_payload(ResetDevice, {"deviceId": "device-001"})
    failed = make_job("reset", die_at="start")
    with pytest.raises(LeaseLost):
        reset_device(payload, failed, host=host)
    start_device(start(), make_job("other"), host=host)
    private = tmp_path / "devices/device-001/private"
    private.write_text("x")
    assert reset_device(payload, failed.again(), host=host)["alreadyRunning"] is False
    assert not private.exists()


def test_a_start_run_once_more_and_killed_goes_on_as_one(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any]
) -> None:
    done = make_job()
    start_device(start(), done, host=host)
    stop_device(stop(), make_job("stop"), host=host)
    killed = done.again(die_at="configure")
    with pytest.raises(LeaseLost):
        start_device(start(), killed, host=host)
    assert start_device(start(), killed.again(), host=host)["alreadyRunning"] is False
    assert states(engine) == [("cloudq-device-001", "running")]


@pytest.fixture
def dripping() -> Iterator[int]:
    """A peer that sends a byte of an endless answer at a time; its port."""
    done, kept = threading.Event(), list[socket.socket]()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(peer: socket.socket) -> None:
        with suppress(OSError), peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.1):
                peer.sendall(b"x")

    def serve() -> None:
        with suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                threading.Thread(target=drip, args=(kept[-1],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    done.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_an_engine_that_drips_is_not_waited_for(host: DeviceHost, make_job: Callable[..., Any], dripping: int) -> None:
    slow = replace(host, engine=Engine(f"tcp://127.0.0.1:{dripping}", timeout=1))
    began = time.monotonic()
    with pytest.raises(TemporaryFailure, match=r"^timeout: container engine at tcp://127.*, list \(1s\)"):
        start_device(start(), make_job(), host=slow)
    assert time.monotonic() - began < 3

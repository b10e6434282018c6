"""Devices on a real container engine: their steps, what they book, and what a failure or a kill leaves."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adbutils import AdbClient

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the servers stand beside the tests

import engine_server as servers

from cloudq_tui.errors import Cancelled, Deferred, LeaseLost, PermanentFailure, TemporaryFailure
from tasks.clients.adb import AdbLink, AdbServer
from tasks.clients.docker_engine import Engine
from tasks.device_host import DeviceHost
from tasks.devices import MIB
from tasks.payloads import parse_payload
from tasks.payloads.device_operation import ResetDevice, RestartDevice, StartDevice, StopDevice
from tasks.processors.device_operation import reset_device, restart_device, start_device, stop_device

pytestmark = pytest.mark.xdist_group("docker")

START = ["check", "allocate", "container", "configure", "verify", "done"]


def start(device: str = "device-001", user: str | None = "user-1", **params: Any) -> StartDevice:
    data = {"deviceId": device, "params": params} | ({"userId": user} if user else {})
    return parse_payload(StartDevice, data)


def stop(device: str = "device-001", **more: Any) -> StopDevice:
    return parse_payload(StopDevice, {"deviceId": device, **more})


def listed(engine: Any, state: str = "") -> list[str]:
    """The devices the engine has, in a state or in all."""
    found = engine.containers(all=True, filters={"label": "cloudq.device"})
    return sorted(one["Labels"]["cloudq.device"] for one in found if state in {"", one["State"]})


def on(host: DeviceHost, address: str) -> AdbLink:
    link = host.adb.link(address)
    assert link.connected()
    return link


def test_a_start_goes_through_its_steps_and_the_device_is_as_asked(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any]
) -> None:
    job = make_job()
    hostile = 'a b\'; reboot; echo "$HOME" `id`'
    wanted = {"system": {"screen_off_timeout": 600_000}, "global": {"device_name": hostile, "stay_on": True}}
    payload = start(resolution="1080x1920", dpi=480, cpu=0.5, memory="128m", storage=200, settings=wanted)
    result = start_device(payload, job, host=host)
    assert job.progress == [
        (10, "check"), (30, "allocate"), (50, "container"), (70, "configure"), (90, "verify"), (100, "done"),
    ]  # fmt: skip
    assert result == {
        "device": "device-001",
        "address": result["address"],
        "alreadyRunning": False,
        "resolution": "1080x1920",
        "dpi": 480,
        "cpu": 0.5,
        "memory": 128 * MIB,
        "storage": 200 * MIB,
    }
    limits = engine.inspect_container("cloudq-device-001")["HostConfig"]
    assert (limits["CpuQuota"], limits["CpuPeriod"], limits["NanoCpus"]) == (50_000, 100_000, 0)
    assert (limits["Memory"], limits["Privileged"]) == (128 * MIB, True)
    link = on(host, result["address"])
    assert "1080x1920" in link.run("wm", "size").text
    assert "480" in link.run("wm", "density").text
    assert link.property("ro.boot.redroid_width") == "1080"
    assert link.run("settings", "get", "system", "screen_off_timeout").text == "600000\n"
    assert link.run("settings", "get", "global", "device_name").text == f"{hostile}\n"
    assert link.run("settings", "get", "global", "stay_on").text == "1\n"


def test_a_running_device_is_a_success_and_refused_to_another_user(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any]
) -> None:
    start_device(start(), make_job(), host=host)
    before = engine.inspect_container("cloudq-device-001")
    again = start_device(start(cpu=2, dpi=240), make_job("job-2"), host=host)
    assert (again["alreadyRunning"], again["cpu"], again["dpi"]) == (True, 1.0, 240)
    assert "240" in on(host, again["address"]).run("wm", "density").text
    assert engine.inspect_container("cloudq-device-001")["State"]["StartedAt"] == before["State"]["StartedAt"]
    for refused in (start(user="user-2"), stop(userId="user-2")):
        operate: Any = start_device if isinstance(refused, StartDevice) else stop_device
        with pytest.raises(PermanentFailure, match="in use by another user"):
            operate(refused, make_job("job-3"), host=host)
    assert listed(engine, "running") == ["device-001"]


def test_a_stop_frees_what_was_booked_and_keeps_the_data(
    make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    host = make_host(cpu=1)
    start_device(start(dpi=480), make_job(), host=host)
    with pytest.raises(TemporaryFailure, match=r"the host is full: cpu 1 wanted, 0 of 1 free"):
        start_device(start("device-002"), make_job("job-2"), host=host)
    job = make_job("job-3")
    assert stop_device(stop(), job, host=host) == {"device": "device-001", "alreadyStopped": False}
    assert job.progress == [(10, "check"), (50, "stop"), (80, "release"), (100, "done")]
    assert stop_device(stop(), make_job("job-4"), host=host)["alreadyStopped"] is True
    start_device(start("device-002"), make_job("job-5"), host=host)
    stop_device(stop("device-002"), make_job("job-6"), host=host)
    (tmp_path / "devices/device-001/kept").write_text("x")
    assert start_device(start(user="user-2"), make_job("job-7"), host=host)["dpi"] == 480, "as it was before"
    assert (tmp_path / "devices/device-001/kept").exists()
    assert listed(engine, "running") == ["device-001"]


def test_what_does_not_exist_or_is_not_allowed_fails_at_once(
    make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any]
) -> None:
    closed = make_host(create_unknown=False)
    with pytest.raises(PermanentFailure, match="no such device: device-001"):
        start_device(start(), make_job(), host=closed)
    with pytest.raises(PermanentFailure, match="no such device"):
        stop_device(stop(), make_job(), host=closed)
    host = make_host()
    with pytest.raises(PermanentFailure, match="does not fit on this host: memory 2g wanted, 1g of 1g free"):
        start_device(start(memory="2g"), make_job(), host=host)
    for network in ("host", "container:other", "none"):
        with pytest.raises(PermanentFailure, match=r"is not one of devices\.networks"):
            start_device(start(network=network), make_job(), host=host)
    lacking = make_host(known={"device-001": replace(host.rules.defaults, image="nobody/nothing:1")})
    with pytest.raises(PermanentFailure, match="lacks the image"):
        start_device(start(), make_job(), host=lacking)
    assert listed(engine) == []
    with pytest.raises(PermanentFailure, match="Minimum memory limit"):
        start_device(start(memory=1), make_job(), host=host)
    assert not host.data.holds("device-001")


def test_a_restart_that_lacks_its_image_leaves_the_device_as_it_was(
    make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any]
) -> None:
    host = make_host()
    start_device(start(dpi=480), make_job(), host=host)
    lacking = make_host(known={"device-001": replace(host.rules.defaults, image="nobody/nothing:1")})
    with pytest.raises(PermanentFailure, match="lacks the image"):
        restart_device(parse_payload(RestartDevice, {"deviceId": "device-001"}), make_job("job-2"), host=lacking)
    assert listed(engine, "exited") == ["device-001"]
    assert start_device(start(), make_job("job-3"), host=host)["dpi"] == 480


def test_a_restart_keeps_the_device_and_finds_its_new_port(
    host: DeviceHost, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    first = start_device(start(dpi=480), make_job(), host=host)
    (tmp_path / "devices/device-001/kept").write_text("x")
    job = make_job("job-2", name="restart-device")
    payload = parse_payload(RestartDevice, {"deviceId": "device-001", "params": {"resolution": "540x960"}})
    second = restart_device(payload, job, host=host)
    assert job.steps == ["check", "stop", "release", *START]
    assert [percent for percent, _ in job.progress] == sorted(percent for percent, _ in job.progress)
    assert (second["resolution"], second["dpi"], second["alreadyRunning"]) == ("540x960", 480, False)
    assert second["address"] != first["address"]
    assert host.adb.link(first["address"]).state() == "", "the old address is forgotten"
    assert (tmp_path / "devices/device-001/kept").exists()


def test_a_reset_wipes_the_data_once_and_starts_again(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    start_device(start(), make_job(), host=host)
    data, outside = tmp_path / "devices/device-001", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (data / "private").write_text("x")
    (data / "link").symlink_to(outside, target_is_directory=True)
    payload = parse_payload(ResetDevice, {"deviceId": "device-001"})
    killed = make_job("job-2", name="reset-device", die_at="start")
    with pytest.raises(LeaseLost):
        reset_device(payload, killed, host=host)
    assert not data.exists()
    assert (outside / "precious").exists()
    job = killed.again()
    assert reset_device(payload, job, host=host)["alreadyRunning"] is False
    assert killed.progress + job.progress == [
        (10, "check"), (30, "stop"), (60, "wipe /data"), (10, "check"), *[(90, "start")] * 6, (100, "done"),
    ]  # fmt: skip
    assert not (data / "private").exists()
    assert listed(engine, "running") == ["device-001"]
    assert sorted(path.name for path in (tmp_path / "devices").iterdir()) == ["device-001"]


@pytest.mark.parametrize(
    ("boot", "words"), [("never", r"^timeout: .* sys\.boot_completed is not 1"), ("crash", "cannot mount binder")]
)
def test_a_start_that_fails_gives_back_what_it_took(
    boot: str, words: str, make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any]
) -> None:
    broken = make_host(boot_args=(f"phone.boot={boot}",), boot_timeout=1.5)
    with pytest.raises(TemporaryFailure, match=words):
        start_device(start(), make_job(), host=broken)
    assert listed(engine) == []
    assert not broken.data.holds("device-001")
    host = make_host()
    start_device(start("device-002"), make_job("job-2"), host=host)
    stop_device(stop("device-002"), make_job("job-3"), host=host)
    with pytest.raises(TemporaryFailure, match=words):
        start_device(start("device-002"), make_job("job-4"), host=broken)
    assert listed(engine, "running") + listed(engine, "created") == []
    assert host.data.holds("device-002"), "an old device keeps its data"


def test_a_cancelled_start_gives_back(host: DeviceHost, engine: Any, make_job: Callable[..., Any]) -> None:
    with pytest.raises(Cancelled):
        start_device(start(), make_job(cancel_at="verify"), host=host)
    assert listed(engine) == []


def test_a_start_out_of_time_gives_back_and_says_timeout(
    make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any]
) -> None:
    host = make_host(boot_args=("phone.boot=never",))
    began = time.monotonic()
    with pytest.raises(TemporaryFailure, match=r"^timeout"):
        start_device(start(), make_job(ends=began + 5), host=host)
    assert time.monotonic() - began < 6
    assert listed(engine) == []


@pytest.mark.parametrize("step", ["container", "configure", "verify"])
def test_a_killed_start_goes_on_where_it_was(
    step: str, host: DeviceHost, engine: Any, make_job: Callable[..., Any]
) -> None:
    killed = make_job(die_at=step)
    with pytest.raises(LeaseLost):
        start_device(start(dpi=480), killed, host=host)
    assert listed(engine, "created" if step == "container" else "running") == ["device-001"]
    result = start_device(start(dpi=480), killed.again(), host=host)
    assert (result["alreadyRunning"], listed(engine)) == (False, ["device-001"])
    assert "480" in on(host, result["address"]).run("wm", "density").text


def test_a_booking_whose_start_died_is_given_to_the_next(
    make_host: Callable[..., DeviceHost], engine: Any, make_job: Callable[..., Any]
) -> None:
    host = make_host(cpu=1.5)
    with pytest.raises(LeaseLost):
        start_device(start(), make_job(die_at="container"), host=host)
    live = make_job("job-2")
    with live.lock("device:device-001"), pytest.raises(TemporaryFailure, match="the host is full"):
        start_device(start("device-002"), make_job("job-3"), host=host)
    start_device(start("device-002"), make_job("job-3"), host=host)
    assert listed(engine) == ["device-002"]


def test_a_second_operation_on_a_device_is_deferred(host: DeviceHost, make_job: Callable[..., Any]) -> None:
    with make_job("other").lock("device:device-001"):
        for operate, payload in ((start_device, start()), (stop_device, stop())):
            with pytest.raises(Deferred, match="another operation on device-001 is under way"):
                operate(payload, make_job(), host=host)  # type: ignore[operator]


def test_a_host_whose_bookings_are_held_defers(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.processors.device_operation.HOST_PATIENCE", 0.1)
    held = f"host:{engine.info()['ID']}"
    with make_job("other").lock(held), pytest.raises(Deferred, match="other devices are being booked"):
        start_device(start(), make_job(), host=host)
    assert listed(engine) == []


def test_devices_on_the_host_network_get_ports_of_their_own(
    make_host: Callable[..., DeviceHost], make_job: Callable[..., Any]
) -> None:
    ports = (26_211, 26_212)
    host = make_host(networks=("cloudq-test", "host"), boot_args=("phone.port={adb_port}",), adb_ports=ports)
    addresses = [
        start_device(start(f"device-{number}", network="host"), make_job(f"job-{number}"), host=host)["address"]
        for number in range(2)
    ]
    assert addresses == ["127.0.0.1:26211", "127.0.0.1:26212"]
    with pytest.raises(TemporaryFailure, match=r"every port of devices\.adb_ports"):
        start_device(start("device-2", network="host"), make_job("job-2"), host=host)
    bare = make_host(networks=("host",))
    with pytest.raises(PermanentFailure, match=r"needs \{adb_port\}"):
        start_device(start("device-2", network="host"), make_job("job-2"), host=bare)


def test_the_network_probe_decides(make_host: Callable[..., DeviceHost], make_job: Callable[..., Any]) -> None:
    start_device(start(), make_job(), host=make_host(network_probe="127.0.0.1"))
    with pytest.raises(TemporaryFailure, match=r"does not reach 255\.255\.255\.255"):
        start_device(start("device-002"), make_job("job-2"), host=make_host(network_probe="255.255.255.255"))


def test_a_silent_engine_or_adb_server_ends_the_job_in_time(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any], silent_peer: Callable[..., Any]
) -> None:
    began = time.monotonic()
    mute = replace(host, engine=Engine(f"tcp://127.0.0.1:{silent_peer().port}", timeout=30))
    with pytest.raises(TemporaryFailure, match=r"^timeout: container engine"):
        start_device(start(), make_job(ends=began + 0.5), host=mute)
    assert time.monotonic() - began < 1.5
    began = time.monotonic()
    deaf = replace(host, adb=AdbServer(port=silent_peer().port, timeout=0.3), rules=replace(host.rules, boot_timeout=1))
    with pytest.raises(TemporaryFailure, match=r"^timeout: .* ADB of"):
        start_device(start(), make_job(ends=began + 10), host=deaf)
    assert time.monotonic() - began < 4
    assert listed(engine) == []


def test_an_engine_or_adb_server_that_is_away_is_said_in_words(
    host: DeviceHost, engine: Any, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    away = replace(host, engine=Engine(f"unix://{tmp_path}/none.sock"))
    with pytest.raises(TemporaryFailure, match=r"cannot reach the container engine at unix://.*No such file"):
        start_device(start(), make_job(), host=away)
    wrong = replace(host, engine=Engine("nonsense://x"))
    with pytest.raises((PermanentFailure, TemporaryFailure), match=r"container engine|docker_url"):
        start_device(start(), make_job(), host=wrong)
    alone = replace(host, adb=AdbServer(port=1, start=False))
    with pytest.raises(TemporaryFailure, match=r"no ADB server at 127\.0\.0\.1:1"):
        start_device(start(), make_job(), host=alone)
    assert listed(engine) == []


def test_a_device_that_listens_late_is_reached(
    make_host: Callable[..., DeviceHost], make_job: Callable[..., Any]
) -> None:
    """The published port answers before the device does, and adb keeps a dead connection at the first try."""
    start_device(start(), make_job(), host=make_host(boot_args=("phone.listen=2",)))


def test_a_dead_connection_at_the_same_address_is_replaced(host: DeviceHost, engine: Any, make_job: Any) -> None:
    """An offline serial stays listed and adb calls it "already connected"."""
    result = start_device(start(), make_job(), host=host)
    engine.restart("cloudq-device-001", timeout=1)
    assert start_device(start(), make_job("job-2"), host=host)["alreadyRunning"] is True
    assert result["device"] == "device-001"


def test_an_adb_server_is_started_where_none_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path))
    server = AdbServer(port=servers.free_port(), start=True, timeout=10)
    link = server.link("127.0.0.1:1")
    try:
        assert link.state() == ""
    finally:
        AdbClient(server.host, server.port, socket_timeout=5).server_kill()

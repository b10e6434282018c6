"""What a device is made of and what is booked, and the payloads that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from cloudq_tui.errors import InvalidPayload
from tasks.devices import DEVICE, MIB, DeviceContainer, DeviceSpec, Resources, booked, parse_size, shortage
from tasks.payloads import Payload, parse_payload
from tasks.payloads.device_operation import InstallApp, StartDevice
from tasks.queues.device_operation import rules
from tasks.settings.devices import DevicesSettings

BOOKED = ("cpu", "memory", "storage")
SPEC = DeviceSpec("image", "720x1280", 320, 2.0, 512 * MIB, 1024 * MIB, "bridge")


@pytest.mark.parametrize(("text", "size"), [("4g", 4096), ("512m", 512), ("1T", 1024**2), (64, 64), ("64", 64)])
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size * MIB


@pytest.mark.parametrize("text", ["", "0", "-1", "4 g", "4k", "1.5g", "g", 0, -5, True])
def test_no_sizes(text: int | str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_size(text)


def container(state: str, spec: DeviceSpec = SPEC, **labels: str) -> DeviceContainer:
    return DeviceContainer("id", state, {DEVICE: "device-001", **spec.labels(), **labels}, "name")


def test_what_is_booked() -> None:
    all_of_it = Resources(2.0, 512 * MIB, 1024 * MIB)
    for state in ("created", "running", "paused", "restarting"):
        assert booked([container(state)]) == all_of_it
    for state in ("exited", "dead"):
        assert booked([container(state)]) == Resources(storage=1024 * MIB)
    strange = container("running", **{DEVICE: "device-002", "cloudq.cpu": "many", "cloudq.memory": ""})
    assert booked([strange, container("running")]) == Resources(2.0, 512 * MIB, 2048 * MIB)
    assert booked([container("running"), container("exited")]) == all_of_it, "both have the same /data"
    for lie in ("-1000", "nan", "inf", "-inf"):
        liar = container("running", **{DEVICE: "device-002", **{f"cloudq.{one}": lie for one in BOOKED}})
        assert booked([liar, container("running")]) == all_of_it


def test_what_lacks() -> None:
    host, wanted = Resources(4.0, 1024 * MIB, 2048 * MIB), Resources.of(SPEC)
    assert shortage(host, wanted, wanted) == ""
    assert shortage(host, wanted + wanted, wanted) == (
        "cpu 2 wanted, 0 of 4 free; memory 512m wanted, 0g of 1g free; storage 1g wanted, 0g of 2g free"
    )
    thirds = Resources(cpu=0.1) + Resources(cpu=0.2)
    assert shortage(Resources(cpu=0.3), Resources(), thirds) == "", "floats do not decide"


def test_labels_bring_a_device_back() -> None:
    assert DeviceSpec("new", "1x1", 1, 1.0, 1, 1, "x").as_labelled(SPEC.labels()) == SPEC.changed({"image": "new"})
    for number in ("", "?", "0", "-1", "nan", "inf"):
        crooked = {"cloudq.resolution": "wide", "cloudq.dpi": number, **{f"cloudq.{one}": number for one in BOOKED}}
        assert SPEC.as_labelled(crooked) == SPEC


def test_settings_of_one_device_stand_above_the_defaults() -> None:
    devices = DevicesSettings.model_validate(
        {
            "defaults": {"dpi": 240, "settings": {"system": {"a": 1, "b": 1}}},
            "known": {"device-001": {"cpu": 4, "memory": "8g", "settings": {"system": {"b": 2}}}},
            "capacity": {"memory": "64g"},
        }
    )
    made = rules(devices)
    assert (made.spec("device-001").cpu, made.spec("device-001").dpi) == (4.0, 240)
    assert (made.spec("another").cpu, made.spec("another").resolution) == (2.0, "720x1280")
    assert made.system_settings("device-001") == {"system": {"a": 1, "b": 2}}
    assert (made.cpu, made.memory) == (None, 64 * 1024 * MIB)


REFUSED: list[tuple[type[Payload], dict[str, Any], str]] = [
    (StartDevice, {"deviceId": "../x"}, "deviceId"),
    (StartDevice, {"deviceId": "a\n"}, "deviceId"),
    (StartDevice, {"deviceId": "."}, "deviceId"),
    (StartDevice, {"deviceId": "a", "operation": "stop"}, "operation"),
    (StartDevice, {"deviceId": "a", "params": {"resolution": "1x1;reboot"}}, "params.resolution"),
    (StartDevice, {"deviceId": "a", "params": {"settings": {"system": {"a b": 1}}}}, "params.settings"),
    (StartDevice, {"deviceId": "a", "params": {"privileged": True}}, "params.privileged"),
    (StartDevice, {"deviceId": "a", "params": {"settings": {"system": {"a": "x\ny"}}}}, "params.settings.system.a"),
    (
        StartDevice,
        {"deviceId": "a", "params": {"settings": {"system": {f"key{n}": n for n in range(201)}}}},
        "params.settings.system",
    ),
    (StartDevice, {"deviceId": "a", "params": {"cpu": 0}}, "params.cpu"),
    (StartDevice, {"deviceId": "a", "params": {"cpu": 1e-6}}, "params.cpu"),
    (StartDevice, {"deviceId": "a", "params": {"memory": "lots"}}, "params.memory"),
    (InstallApp, {"deviceId": "a"}, "params"),
    (InstallApp, {"deviceId": "a", "params": {"packageName": "-r", "apkUrl": "https://x/y"}}, "params.packageName"),
    (InstallApp, {"deviceId": "a", "params": {"packageName": "com.x", "apkUrl": "file:///etc"}}, "params.apkUrl"),
]


@pytest.mark.parametrize(("model", "data", "field"), REFUSED)
def test_refused_payloads(model: type[Payload], data: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        parse_payload(model, data)
    assert caught.value.field == field

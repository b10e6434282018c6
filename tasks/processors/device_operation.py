"""start-device, stop-device, restart-device and reset-device.

A start books its resources by making the container, under a lock of the host: what the engine lists is what is
booked, so a start that is killed leaves nothing behind that its next run, or the next start of any device, does not
find. The container's labels say which job made it, and so which run may give it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from cloudq_tui.errors import JobSignal, LeaseLost, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.clients.adb import AdbLink
from tasks.clients.docker_engine import Creation
from tasks.device_host import GIVE_BACK, DeviceHost, Operation, in_words
from tasks.devices import (
    DEVICE,
    DeviceContainer,
    DeviceSpec,
    Resources,
    booked,
    parse_resolution,
    parse_size,
    shortage,
)
from tasks.payloads.device_operation import ResetDevice, RestartDevice, StartDevice, StartParams, StopDevice

Outcome = dict[str, Any]

HOST_PATIENCE = 2.0
"""Seconds a start waits for another one to have booked; longer, and it is deferred."""


def start_device(payload: StartDevice, job: JobContext, *, host: DeviceHost) -> Outcome:
    """Start a device; one that runs already is a success."""
    with host.operation(payload, job) as operation:
        return _finish(operation, _start(operation, payload.params))


def stop_device(payload: StopDevice, job: JobContext, *, host: DeviceHost) -> Outcome:
    """Stop a device: its processors and memory are free then, its data stays."""
    with host.operation(payload, job) as operation:
        return _finish(operation, _stop(operation))


def restart_device(payload: RestartDevice, job: JobContext, *, host: DeviceHost) -> Outcome:
    """Stop a device and start it again; a run that was killed after the stop goes on with the start."""
    with host.operation(payload, job) as operation:
        operation.share = (0, 50)
        found = operation.engine.find(operation.device)
        if found is None or not _began(operation, found):
            _stop(operation)
        operation.share = (50, 100)
        return _finish(operation, _start(operation, payload.params))


def reset_device(payload: ResetDevice, job: JobContext, *, host: DeviceHost) -> Outcome:
    """Stop a device, wipe its data and start it; what was wiped is not wiped again by a later run of this job."""
    with host.operation(payload, job) as operation:
        operation.step(10, "check")
        if not _wiped(operation):
            found = _known(operation)
            operation.step(30, "stop")
            if found is not None and not found.at_rest:
                _halt(operation, found)
            operation.step(60, "wipe /data")
            job.check()
            host.data.wipe(operation.device)
            job.checkpoint({"wiped": found.id if found else ""})
        operation.step(90, "start")
        operation.share = (90, 90)
        return _finish(operation, _start(operation, None, shown="start"))


def _wiped(operation: Operation) -> bool:
    """Whether this job itself wiped the device and nobody has started it since: each start makes another container."""
    stored = operation.job.last_checkpoint
    if not isinstance(stored, dict) or "wiped" not in stored:
        return False
    found = operation.engine.find(operation.device)
    return found is None or found.id == stored["wiped"] or found.labels.get("cloudq.job") == operation.job.id


def _finish(operation: Operation, outcome: Outcome) -> Outcome:
    """What was done stays done: a cancellation or a timeout that arrives now can no longer undo it."""
    operation.share = (0, 100)
    with suppress(JobSignal):
        found = operation.engine.find(operation.device)
        operation.job.checkpoint({"done": found.id if found else ""})
        operation.step(100, "done")
    return outcome


def _began(operation: Operation, found: DeviceContainer) -> bool:
    """Whether this job itself is bringing the container up: an earlier run of it was killed on the way."""
    stored = operation.job.last_checkpoint
    done = isinstance(stored, dict) and stored.get("done") == found.id  # a person may have it run once more
    return found.labels.get("cloudq.job") == operation.job.id and not found.at_rest and not done


def _known(operation: Operation) -> DeviceContainer | None:
    """The device's container, if any. Raises PermanentFailure for a device nobody has heard of."""
    found = operation.engine.find(operation.device)
    operation.permit(found)
    host = operation.host
    if found is None and operation.device not in host.rules.known and not host.data.holds(operation.device):
        operation.unknown()
    return found


# stopping -------------------------------------------------------------------------------------------------


def _stop(operation: Operation) -> Outcome:
    operation.step(10, "check")
    found = _known(operation)
    operation.step(50, "stop")
    stopped = found is not None and not found.at_rest
    if found is not None and stopped:
        _halt(operation, found)
    operation.step(80, "release")
    now = operation.engine.find(operation.device)
    if now is not None and not now.at_rest:
        raise TemporaryFailure(f"{operation.device} is still {now.state}")
    return {"device": operation.device, "alreadyStopped": not stopped}


def _halt(operation: Operation, found: DeviceContainer) -> None:
    """Stop a container. One that never ran has nothing to stop, but it holds a booking."""
    operation.job.check()
    if found.state == "created":
        operation.engine.remove(found.id)
        return
    with suppress(TemporaryFailure):
        link = operation.link(found) if found.running else None
        if link is not None:
            link.disconnect()
    operation.engine.stop(found.id, operation.host.rules.stop_timeout)


# starting -------------------------------------------------------------------------------------------------


def _start(operation: Operation, params: StartParams | None, shown: str = "") -> Outcome:
    """Bring a device up. `shown` names one step for all of it, where it is itself a step of another operation."""

    def step(percent: float, name: str) -> None:
        operation.step(percent, shown or name)

    step(10, "check")
    found = operation.engine.find(operation.device)
    operation.permit(found)
    spec = _spec(operation, found, params)
    if found is not None and found.running:
        ours, container = _began(operation, found), found
    elif found is not None and not found.at_rest and found.state != "created":
        raise TemporaryFailure(f"{operation.device} is {found.state}")
    else:
        step(30, "allocate")
        ours, container = True, _allocate(operation, spec)
    with _given_back(operation, container) if ours else nullcontext():
        step(50, "container")
        if not container.running:
            operation.engine.start(container.id)
        link = operation.ready(container)
        step(70, "configure")
        _configure(operation, link, spec, params, whole=ours)
        step(90, "verify")
        _verify(operation, link)
        _forget_others(operation, container)
    return {
        "device": operation.device,
        "address": link.serial,
        "alreadyRunning": not ours,
        "resolution": spec.resolution,
        "dpi": spec.dpi,
        "cpu": spec.cpu,
        "memory": spec.memory,
        "storage": spec.storage,
    }


def _spec(operation: Operation, found: DeviceContainer | None, params: StartParams | None) -> DeviceSpec:
    """The device as the settings have it, as it was, and as the job wants it: later ones win."""
    rules = operation.host.rules
    if found is None and operation.device not in rules.known and not rules.create_unknown:
        operation.unknown()
    spec = rules.spec(operation.device)
    if found is not None:
        spec = spec.as_labelled(found.labels)
    if params is not None:
        wanted = params.model_dump(include={"resolution", "dpi", "cpu", "network"})
        for name in ("memory", "storage"):
            value = getattr(params, name)
            wanted[name] = None if value is None else parse_size(value)
        if found is not None and found.running:
            # Its resources were booked when it started: they change by a restart, its screen at once.
            wanted = {name: wanted[name] for name in ("resolution", "dpi")}
        spec = spec.changed(wanted)
    return spec


def _allocate(operation: Operation, spec: DeviceSpec) -> DeviceContainer:
    """Book the device's resources by making its container, while no other start of this host can.

    Raises TemporaryFailure when the host is full now, PermanentFailure when the device could never fit.
    """
    if spec.network not in operation.host.rules.networks:
        raise PermanentFailure(f"network {spec.network[:64]!r} is not one of devices.networks")
    operation.engine.require(spec.image)
    machine = operation.engine.host()
    capacity, wanted = operation.capacity(machine.capacity), Resources.of(spec)
    if lacks := shortage(capacity, Resources(), wanted):
        raise PermanentFailure(f"{operation.device} does not fit on this host: {lacks}")
    with _booking(operation, machine.id):
        listed = operation.engine.devices()
        mine = [one for one in listed if one.device == operation.device]
        others = [one for one in listed if one.device != operation.device and not _abandoned(operation, one)]
        if lacks := shortage(capacity, booked(others), wanted):
            raise TemporaryFailure(f"the host is full: {lacks}")
        port = _own_port(operation, spec, others)
        return _make(operation, spec, mine, port)


def _make(operation: Operation, spec: DeviceSpec, mine: list[DeviceContainer], port: int) -> DeviceContainer:
    """The device's next container. The one before stays until this has been verified: it alone says how the device was.

    When the engine refuses it, no new data is left.
    """
    data, made = operation.host.data.ensure(operation.device)
    fresh = made and all(one.state == "created" for one in mine)
    operation.job.check()
    for one in mine:
        if one.state in {"created", "dead"}:
            operation.engine.remove(one.id)  # what a start that was killed had booked
        else:
            operation.engine.set_aside(one)
    creation = Creation(
        labels={
            DEVICE: operation.device,
            "cloudq.user": operation.user or next((one.user for one in mine), ""),
            "cloudq.job": operation.job.id,
            "cloudq.fresh": "1" if fresh else "",
            "cloudq.adb_port": str(port) if port else "",
        },
        data=data,
        arguments=operation.host.rules.arguments(operation.device, spec, port),
        adb_bind=operation.host.rules.adb_bind,
    )
    try:
        return operation.engine.create(spec, creation)
    except JobSignal:
        if fresh:
            with suppress(JobSignal):
                operation.host.data.wipe(operation.device)
        raise


def _forget_others(operation: Operation, container: DeviceContainer) -> None:
    """Remove the device's containers from before; one that will not go yet is left to the next start."""
    with suppress(TemporaryFailure):
        for one in operation.engine.devices(operation.device):
            if one.id != container.id and one.at_rest:
                operation.engine.remove(one.id)


@contextmanager
def _booking(operation: Operation, host: str) -> Iterator[None]:
    """Alone with the host's bookings. They take some tens of milliseconds, so a short wait saves a deferral."""
    ends = time.monotonic() + HOST_PATIENCE
    while True:
        with operation.job.lock(f"host:{host}") as alone:
            if alone:
                yield
                return
        if time.monotonic() >= ends:
            operation.job.defer(0.5, "other devices are being booked on this host")
        time.sleep(0.02)
        operation.job.check()


def _abandoned(operation: Operation, other: DeviceContainer) -> bool:
    """Whether `other` was booked by a start that died before it ran; then it is removed.

    A live start holds its device's lock as long as its container is only created.
    """
    if other.state != "created":
        return False
    with operation.job.lock(f"device:{other.device}") as nobodys:
        if nobodys:
            operation.engine.remove(other.id)
        return nobodys


def _own_port(operation: Operation, spec: DeviceSpec, others: list[DeviceContainer]) -> int:
    """A free port of the host for a device that shares its network; 0 for one that publishes its own."""
    rules = operation.host.rules
    if spec.network != "host":
        return 0
    if not any("{adb_port}" in argument for argument in rules.boot_args):
        raise PermanentFailure("network host needs {adb_port} in devices.boot_args, to tell devices apart")
    taken = {one.labels.get("cloudq.adb_port") for one in others if not one.at_rest}
    first, last = rules.adb_ports
    port = next((port for port in range(first, last + 1) if str(port) not in taken), None)
    if port is None:
        raise TemporaryFailure(f"the host is full: every port of devices.adb_ports ({first} to {last}) is taken")
    return port


@contextmanager
def _given_back(operation: Operation, container: DeviceContainer) -> Iterator[None]:
    """A start that fails gives back what it took: all of a new device, the booking of an old one.

    Not after its lease was lost: then another run goes on with the same container.
    """
    try:
        yield
    except LeaseLost:
        raise
    except Exception:
        budget = max(0.8, min(GIVE_BACK, operation.job.time_remaining))
        ends = time.monotonic() + budget
        new = container.labels.get("cloudq.fresh") == "1"
        with operation.host.engine.session(lambda: ends - time.monotonic()) as engine, suppress(JobSignal):
            engine.stop(container.id, 0)
            left = engine.devices(operation.device)
            if new or len(left) > 1 or any(one.state == "created" for one in left):
                engine.remove(container.id)
            if new:
                operation.host.data.wipe(operation.device)
        raise


def _configure(
    operation: Operation, link: AdbLink, spec: DeviceSpec, params: StartParams | None, *, whole: bool
) -> None:
    """Put the screen and the system settings; on a device that ran already only what the job names."""
    rules = operation.host.rules
    if whole or (params is not None and params.resolution):
        width, height = parse_resolution(spec.resolution)
        _command(link, "wm", "size", f"{width}x{height}")
    if whole or (params is not None and params.dpi):
        _command(link, "wm", "density", str(spec.dpi))
    groups = rules.system_settings(operation.device) if whole else {}
    for group, values in ((params.settings if params else None) or {}).items():
        groups[group] = groups.get(group, {}) | values
    for group, values in groups.items():
        for key, value in values.items():
            operation.job.check()
            _command(link, "settings", "put", group, key, in_words(value))


def _command(link: AdbLink, *words: str) -> str:
    """Run one of Android's commands, some of which tell of a failure in their text alone."""
    output = link.run(*words)
    said = output.text.strip()
    if output.status != 0 or said.startswith(("Error", "Exception", "java.lang.", "Can't find service")):
        what = " ".join(words[:2])
        raise TemporaryFailure(f"the device refused {what}: {said[:200] or f'status {output.status}'}")
    return said


def _verify(operation: Operation, link: AdbLink) -> None:
    if link.state() != "device":
        raise TemporaryFailure(f"{operation.device} has lost its ADB connection")
    if link.property("sys.boot_completed") != "1":
        raise TemporaryFailure(f"{operation.device} is booting again")
    probe = operation.host.rules.network_probe
    if probe and link.run("ping", "-c", "1", "-W", "3", probe).status != 0:
        raise TemporaryFailure(f"{operation.device} does not reach {probe} (devices.network_probe)")

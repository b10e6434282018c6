"""A host of devices as one operation sees it: its engine, its ADB server, its data folders, and the rules.

Holds what start, stop, reset, install and uninstall have in common: one operation at a time per device, who may
touch a device, how it is made, and how it is reached.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.clients.adb import AdbLink, AdbServer, NoAdbServer
from tasks.clients.device_data import DeviceData
from tasks.clients.docker_engine import ADB_PORT, Engine, EngineSession
from tasks.devices import DeviceContainer, DeviceSpec, Resources, parse_resolution
from tasks.payloads.device_operation import DeviceOperation, SystemSettings

BUSY = 1.0
"""Seconds until a device that another operation holds is asked for again."""
GIVE_BACK = 3.0
"""Seconds kept of a job's time, in which a start that failed gives back what it took."""


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """What the settings say of devices. Times in seconds; None in `capacity` means as the host has it."""

    defaults: DeviceSpec
    known: Mapping[str, DeviceSpec] = field(default_factory=dict)
    settings: Mapping[str, SystemSettings] = field(default_factory=dict)
    create_unknown: bool = True
    cpu: float | None = None
    memory: int | None = None
    storage: int | None = None
    networks: tuple[str, ...] = ("bridge",)
    boot_args: tuple[str, ...] = ()
    adb_address: str = "127.0.0.1"
    adb_bind: str = "127.0.0.1"
    adb_ports: tuple[int, int] = (16000, 16999)
    boot_timeout: float = 120.0
    stop_timeout: float = 10.0
    network_probe: str = ""

    def spec(self, device: str) -> DeviceSpec:
        return self.known.get(device, self.defaults)

    def system_settings(self, device: str) -> SystemSettings:
        """The Android settings of a device: the defaults' (kept under "") below its own."""
        merged: SystemSettings = {}
        for one in (self.settings.get("", {}), self.settings.get(device, {})):
            for group, values in one.items():
                merged[group] = merged.get(group, {}) | values
        return merged

    def arguments(self, device: str, spec: DeviceSpec, adb_port: int) -> list[str]:
        """What the image's entry point is given: redroid's boot arguments."""
        width, height = parse_resolution(spec.resolution)
        more = [argument.replace("{adb_port}", str(adb_port)) for argument in self.boot_args]
        return [
            f"androidboot.redroid_width={width}",
            f"androidboot.redroid_height={height}",
            f"androidboot.redroid_dpi={spec.dpi}",
            f"androidboot.cloudq_device={device}",
            *more,
        ]


@dataclass(frozen=True, slots=True)
class DeviceHost:
    """The outside of the queue device-operation."""

    engine: Engine
    adb: AdbServer
    data: DeviceData
    rules: DeviceRules

    @contextmanager
    def operation(self, payload: DeviceOperation, job: JobContext) -> Iterator[Operation]:
        """The only operation on this device now, in any worker. Defers the job while another one goes on."""
        with job.lock(f"device:{payload.device_id}") as alone:
            if not alone:
                job.defer(BUSY, f"another operation on {payload.device_id} is under way")
            with self.engine.session(lambda: job.time_remaining) as engine:
                yield Operation(self, engine, job, payload.device_id, payload.user_id or "")


@dataclass(slots=True)
class Operation:
    """One run of one operation on one device. `share` maps its steps' percents onto a part of the job's."""

    host: DeviceHost
    engine: EngineSession
    job: JobContext
    device: str
    user: str
    share: tuple[float, float] = (0.0, 100.0)

    def step(self, percent: float, name: str) -> None:
        low, high = self.share
        self.job.update_progress(low + (high - low) * percent / 100, name)

    def permit(self, found: DeviceContainer | None) -> None:
        """Raises PermanentFailure when another user has the device."""
        if found is not None and not found.at_rest and self.user and found.user not in {"", self.user}:
            raise PermanentFailure(f"{self.device} is in use by another user")

    def running(self) -> DeviceContainer:
        """The device's container. Raises PermanentFailure when it does not run."""
        found = self.engine.find(self.device)
        self.permit(found)
        if found is None or not found.running:
            raise PermanentFailure(f"{self.device} is not running: start it first")
        return found

    def unknown(self) -> NoReturn:
        raise PermanentFailure(f"no such device: {self.device} (neither devices.known nor the engine knows it)")

    def capacity(self, engine_has: Resources) -> Resources:
        """What may be booked: as the settings say, else as the host has it."""
        rules = self.host.rules
        return Resources(
            cpu=engine_has.cpu if rules.cpu is None else rules.cpu,
            memory=engine_has.memory if rules.memory is None else rules.memory,
            storage=self.host.data.capacity() if rules.storage is None else rules.storage,
        )

    # reaching it ------------------------------------------------------------------------------------------

    def link(self, container: DeviceContainer) -> AdbLink:
        """The way to the device by ADB, at the address it has now."""
        labelled = container.labels.get("cloudq.adb_port", "")
        port = int(labelled) if labelled.isdecimal() else self.engine.port(container.id)
        if port is None:
            self._alive(container)  # one that has ended publishes none
            raise TemporaryFailure(f"{self.device} publishes no port {ADB_PORT}/tcp for ADB")
        serial = f"{self.host.rules.adb_address}:{port}"
        return self.host.adb.link(serial, lambda: self.job.time_remaining)

    def ready(self, container: DeviceContainer) -> AdbLink:
        """Wait until the device has booted and answers. Raises TemporaryFailure with what was missing."""
        patience = min(self.host.rules.boot_timeout, self.job.time_remaining - GIVE_BACK)
        ends = time.monotonic() + patience
        link, pause = self.link(container), 0.05
        while True:
            self.job.check()
            self._alive(container)
            lacks = self._lacks(link)
            if not lacks:
                return link
            self._alive(container)
            left = ends - time.monotonic()
            if left <= 0:
                raise TemporaryFailure(f"timeout: {self.device} was not ready within {max(patience, 0):.0f}s: {lacks}")
            time.sleep(min(pause, left))
            pause = min(1.0, pause * 1.5)

    def _alive(self, container: DeviceContainer) -> None:
        if ended := self.engine.ended(container.id):
            raise TemporaryFailure(f"{self.device} does not run: {ended}")

    def _lacks(self, link: AdbLink) -> str:
        """What the device still lacks; "" when it is ready."""
        try:
            if not link.connected():
                return "no ADB connection"
            # Ports are given out again: an old connection may lead to the device that had this one before.
            who = link.property("ro.boot.cloudq_device")
            if who not in {"", self.device}:
                link.disconnect()
                return "another device answered"
            return "" if link.property("sys.boot_completed") == "1" else "sys.boot_completed is not 1"
        except NoAdbServer:
            raise
        except TemporaryFailure as error:
            return str(error)


def in_words(value: Any) -> str:
    """A value as Android's `settings put` takes it."""
    return str(int(value)) if isinstance(value, bool) else str(value)

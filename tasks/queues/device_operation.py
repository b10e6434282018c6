"""The queue device-operation: its jobs, their defaults, and the host of devices they work on.

The container engine's and ADB's clients load at a worker's first job: a producer needs neither.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from tasks.devices import DeviceSpec, parse_size
from tasks.payloads import Payload
from tasks.payloads.device_operation import (
    InstallApp,
    ResetDevice,
    RestartDevice,
    StartDevice,
    StopDevice,
    UninstallApp,
)
from tasks.queues.job import PlatformJob, PlatformQueue, Processor
from tasks.settings import PlatformSettings
from tasks.settings.devices import FALLBACK, DeviceSettings, DevicesSettings

if TYPE_CHECKING:
    from tasks.clients.download import Downloader
    from tasks.device_host import DeviceHost, DeviceRules

NAME = "device-operation"


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    outside = _Outside(settings.devices)
    minutes: dict[str, tuple[type[Payload], Processor, int]] = {
        "start-device": (StartDevice, outside.start, 5),
        "stop-device": (StopDevice, outside.stop, 2),
        "restart-device": (RestartDevice, outside.restart, 7),
        "reset-device": (ResetDevice, outside.reset, 10),
        "install-app": (InstallApp, outside.install, 20),
        "uninstall-app": (UninstallApp, outside.uninstall, 10),
    }
    return [
        PlatformJob(
            queue=NAME,
            name=name,
            model=model,
            function=function,
            priority=int(JobPriority.HIGH),
            timeout=timedelta(minutes=limit),
        )
        for name, (model, function, limit) in minutes.items()
    ]


class _Outside:
    """The engine, the ADB server and the data folders; made at a worker's first job, not by who only enqueues."""

    def __init__(self, settings: DevicesSettings) -> None:
        self._settings = settings

    @cached_property
    def host(self) -> DeviceHost:
        from tasks.clients.adb import AdbServer  # noqa: PLC0415 - only a worker pays for the clients
        from tasks.clients.device_data import DeviceData  # noqa: PLC0415
        from tasks.clients.docker_engine import Engine  # noqa: PLC0415
        from tasks.device_host import DeviceHost  # noqa: PLC0415

        devices = self._settings
        return DeviceHost(
            engine=Engine(devices.docker_url, devices.docker_timeout),
            adb=AdbServer(devices.adb.host, devices.adb.port, devices.adb.start, devices.adb.timeout),
            data=DeviceData(devices.data_root),
            rules=rules(devices),
        )

    @cached_property
    def downloader(self) -> Downloader:
        from tasks.clients.download import Downloader  # noqa: PLC0415

        rules = self._settings.download
        return Downloader(
            folder=rules.folder,
            max_size=parse_size(rules.max_size),
            timeout=rules.timeout,
            allow_http=rules.allow_http,
            allow_private=rules.allow_private,
            ca_file=rules.ca_file,
        )

    def start(self, payload: Payload, job: JobContext) -> Any:
        return self._operate("start_device", payload, job)

    def stop(self, payload: Payload, job: JobContext) -> Any:
        return self._operate("stop_device", payload, job)

    def restart(self, payload: Payload, job: JobContext) -> Any:
        return self._operate("restart_device", payload, job)

    def reset(self, payload: Payload, job: JobContext) -> Any:
        return self._operate("reset_device", payload, job)

    def install(self, payload: InstallApp, job: JobContext) -> Any:
        from tasks.processors.device_apps import install_app  # noqa: PLC0415

        limit = self._settings.install_timeout
        return install_app(payload, job, host=self.host, downloader=self.downloader, install_timeout=limit)

    def uninstall(self, payload: UninstallApp, job: JobContext) -> Any:
        from tasks.processors.device_apps import uninstall_app  # noqa: PLC0415

        return uninstall_app(payload, job, host=self.host, install_timeout=self._settings.install_timeout)

    def _operate(self, function: str, payload: Payload, job: JobContext) -> Any:
        from tasks.processors import device_operation  # noqa: PLC0415

        operate: Processor = getattr(device_operation, function)
        return operate(payload, job, host=self.host)  # type: ignore[call-arg]


def rules(devices: DevicesSettings) -> DeviceRules:
    """The settings as the processors read them."""
    from tasks.device_host import DeviceRules  # noqa: PLC0415

    return DeviceRules(
        defaults=device_spec(devices, DeviceSettings()),
        known={name: device_spec(devices, one) for name, one in devices.known.items()},
        settings={name: one.settings for name, one in [("", devices.defaults), *devices.known.items()]},
        create_unknown=devices.create_unknown,
        cpu=devices.capacity.cpu,
        memory=_bytes(devices.capacity.memory),
        storage=_bytes(devices.capacity.storage),
        networks=devices.networks,
        boot_args=devices.boot_args,
        adb_address=devices.adb_address,
        adb_bind=devices.adb_bind,
        adb_ports=devices.adb_ports,
        boot_timeout=devices.boot_timeout,
        stop_timeout=devices.stop_timeout,
        network_probe=devices.network_probe,
    )


def device_spec(devices: DevicesSettings, own: DeviceSettings) -> DeviceSpec:
    """How a device is made of which the settings say `own`."""
    given = FALLBACK.model_dump() | devices.defaults.model_dump(exclude_none=True) | own.model_dump(exclude_none=True)
    return DeviceSpec(
        image=given["image"] or devices.image,
        resolution=given["resolution"],
        dpi=given["dpi"],
        cpu=given["cpu"],
        memory=parse_size(given["memory"]),
        storage=parse_size(given["storage"]),
        network=given["network"],
    )


def _bytes(size: int | str | None) -> int | None:
    return None if size is None else parse_size(size)


QUEUE = PlatformQueue(NAME, jobs, needs=("cryptography", "asn1crypto"))

"""The section devices."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from cloudq_tui.settings import Section
from cloudq_tui.settings.section import CommaList, xdg_folder
from tasks.devices import device_id, parse_size
from tasks.payloads.device_operation import Cpu, Dpi, Resolution, Size, SystemSettings, checked_settings
from tasks.settings.common import FolderOrFile


def _size(value: int | str) -> int | str:
    parse_size(value)
    return value


Words = Annotated[tuple[str, ...], *CommaList]
DeviceName = Annotated[str, AfterValidator(device_id)]


class AdbSettings(Section):
    host: str = "127.0.0.1"
    """Where the ADB server is."""
    port: int = Field(default=5037, ge=1, le=65535)
    """Its port."""
    start: bool = True
    """Start one on this host when none answers; it outlives the worker, as ADB's server does."""
    timeout: float = Field(default=15.0, gt=0, le=600)
    """Seconds the server or a device may stay silent."""


class DeviceSettings(Section):
    """How a device is made; in `known` only what differs from `defaults` needs to be said."""

    image: str | None = None
    """Container image; devices.image unless said."""
    resolution: Resolution | None = None
    """WIDTHxHEIGHT in pixels."""
    dpi: Dpi | None = None
    """Dots per inch."""
    cpu: Cpu | None = None
    """Processors."""
    memory: Size | None = None
    """Memory: 4g, 512m, or a whole number of MiB."""
    storage: Size | None = None
    """Storage to book for /data."""
    network: str | None = None
    """Container network."""
    settings: Annotated[SystemSettings, AfterValidator(checked_settings)] = Field(default_factory=dict)
    """Android settings to put, by namespace: {system: {screen_off_timeout: 600000}}."""


FALLBACK = DeviceSettings(resolution="720x1280", dpi=320, cpu=2.0, memory="4g", storage="16g", network="bridge")
"""What a device is made of as long as nobody says otherwise."""


class CapacitySettings(Section):
    """What may be booked on the host; what is not said is asked of the host itself."""

    cpu: Annotated[float, Field(gt=0)] | None = None
    """Processors."""
    memory: Size | None = None
    """Memory."""
    storage: Size | None = None
    """Storage for the devices' data; the size of the file system below data_root unless said."""


class DownloadSettings(Section):
    folder: FolderOrFile = xdg_folder("XDG_CACHE_HOME", ".cache") / "downloads"
    """Where files are while they are downloaded and checked."""
    max_size: Annotated[int | str, AfterValidator(_size)] = "2g"
    """Largest file."""
    timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds a server may stay silent."""
    allow_http: bool = False
    """Also take http URLs."""
    allow_private: bool = False
    """Also connect to private, loopback and link-local addresses."""
    ca_file: FolderOrFile | None = None
    """CA certificates (PEM) to trust besides the system's."""


class DevicesSettings(Section):
    docker_url: str = ""
    """The container engine: unix:///path, tcp://host:port; DOCKER_HOST or the usual socket unless said."""
    docker_timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds the engine may stay silent."""
    adb: AdbSettings = AdbSettings()
    """The ADB server."""
    image: str = "redroid/redroid:16.0.0_64only-latest"
    """The Android image; it must be on the host."""
    boot_args: Words = ("androidboot.redroid_fps=30", "androidboot.redroid_gpu_mode=guest")
    """More boot arguments; {adb_port} stands for the device's own port on network host."""
    defaults: DeviceSettings = FALLBACK
    """How a device is made of which nothing else is said."""
    known: dict[DeviceName, DeviceSettings] = Field(default_factory=dict)
    """Devices by name, each with what differs from the defaults."""
    create_unknown: bool = True
    """A start may make a device that neither `known` nor the engine knows."""
    capacity: CapacitySettings = CapacitySettings()
    """What may be booked."""
    data_root: FolderOrFile = xdg_folder("XDG_DATA_HOME", ".local/share") / "devices"
    """Folder on the engine's host that holds each device's /data."""
    networks: Words = ("bridge",)
    """Container networks a device may be put on."""
    adb_address: str = "127.0.0.1"
    """Address at which the ADB server reaches the devices' published ports."""
    adb_bind: str = "127.0.0.1"
    """Address of the engine's host on which those ports are published."""
    adb_ports: tuple[Annotated[int, Field(ge=1024, le=65535)], Annotated[int, Field(ge=1024, le=65535)]] = (
        16000,
        16999,
    )
    """First and last port for devices on network host."""
    boot_timeout: float = Field(default=120.0, gt=0, le=3600)
    """Seconds a device may take to boot."""
    stop_timeout: float = Field(default=10.0, ge=0, le=600)
    """Seconds a device gets to shut down before it is killed."""
    install_timeout: float = Field(default=300.0, gt=0, le=3600)
    """Seconds the package manager may take."""
    network_probe: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9.:-]*)?$")
    """Address every started device must reach by ping; none unless said."""
    download: DownloadSettings = DownloadSettings()
    """Where applications come from."""

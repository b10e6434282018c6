"""The payloads of the queue device-operation."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from tasks.contacts import one_line
from tasks.devices import device_id, parse_resolution, parse_size
from tasks.payloads.base import Payload, Text

SETTING_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
MOST_SETTINGS = 200
"""Settings of one namespace; each is a command of its own on the device."""
_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")


def _resolution(text: str) -> str:
    parse_resolution(text)
    return text


def _size(value: int | str) -> int | str:
    parse_size(value)
    return value


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise ValueError("must be an Android package name such as com.example.app")
    return text


DeviceId = Annotated[str, AfterValidator(device_id)]
UserId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(one_line)]
PackageName = Annotated[str, Field(max_length=223), AfterValidator(_package)]
Resolution = Annotated[str, Field(max_length=11), AfterValidator(_resolution)]
Dpi = Annotated[int, Field(ge=72, le=1000)]
Cpu = Annotated[float, Field(ge=0.01, le=1024)]  # engines count in hundredths, and take less for no limit at all
Size = Annotated[int | str, AfterValidator(_size)]
SystemSetting = Annotated[str, Field(max_length=1024), AfterValidator(one_line)] | int | float | bool
SystemSettings = dict[
    Literal["system", "secure", "global"], Annotated[dict[str, SystemSetting], Field(max_length=MOST_SETTINGS)]
]


def checked_settings(value: SystemSettings | None) -> SystemSettings | None:
    """Return `value` unchanged, or raise ValueError for a key that Android would not take as one word."""
    for key in (key for group in (value or {}).values() for key in group):
        if not SETTING_KEY.fullmatch(key):
            raise ValueError("a setting's name has letters, digits, dots, colons, dashes and underscores")
    return value


class StartParams(Payload):
    """How a device is made; what is left out is as before, or as the `devices` settings have it."""

    resolution: Resolution | None = None
    """WIDTHxHEIGHT in pixels, such as 1080x1920."""
    dpi: Dpi | None = None
    """Dots per inch of the screen."""
    cpu: Cpu | None = None
    """Processors the device may use, such as 2 or 1.5."""
    memory: Size | None = None
    """Memory: `4g`, `512m`, or a whole number of MiB."""
    storage: Size | None = None
    """Storage to book for /data: `16g`, or a whole number of MiB."""
    network: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """One of the container networks in `devices.networks`."""
    settings: Annotated[SystemSettings, AfterValidator(checked_settings)] | None = None
    """Android settings by namespace: {"system": {"screen_off_timeout": 600000}}."""


class NoParams(Payload):
    """An operation that takes none."""


class InstallParams(Payload):
    """What to install and where from."""

    package_name: PackageName
    """The package the file must contain."""
    apk_url: Annotated[Text, Field(min_length=1, max_length=2048)]
    """Where the file is; https unless `devices.download.allow_http`."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """The file's checksum, in hexadecimal."""

    @field_validator("apk_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not re.match(r"https?://[^/]", value, re.IGNORECASE) or any(ord(char) <= 32 for char in value):
            raise ValueError("must be an http or https URL")
        return value


class UninstallParams(Payload):
    """What to remove."""

    package_name: PackageName
    """The package to remove, with its data."""


class DeviceOperation(Payload):
    """What every device operation has in common."""

    device_id: DeviceId
    """The device."""
    user_id: UserId | None = None
    """Who it is for; a device in use by another user is refused."""


class StartDevice(DeviceOperation):
    """Start a device; one that runs already is a success."""

    operation: Literal["start"] = "start"
    """Implied by the job."""
    params: StartParams | None = None
    """How to make it."""


class StopDevice(DeviceOperation):
    """Stop a device and free its processors and memory; its data stays."""

    operation: Literal["stop"] = "stop"
    """Implied by the job."""
    params: NoParams | None = None
    """None are needed."""


class RestartDevice(DeviceOperation):
    """Stop a device and start it again."""

    operation: Literal["restart"] = "restart"
    """Implied by the job."""
    params: StartParams | None = None
    """What to change on the way."""


class ResetDevice(DeviceOperation):
    """Wipe a device: everything on its /data is lost."""

    operation: Literal["reset"] = "reset"
    """Implied by the job."""
    params: NoParams | None = None
    """None are needed."""


class InstallApp(DeviceOperation):
    """Install an application from a signed file."""

    operation: Literal["install"] = "install"
    """Implied by the job."""
    params: InstallParams
    """What to install and where from."""


class UninstallApp(DeviceOperation):
    """Remove an application."""

    operation: Literal["uninstall"] = "uninstall"
    """Implied by the job."""
    params: UninstallParams
    """What to remove."""

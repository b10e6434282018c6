"""What a device is made of, what is booked on its host, and how both are written as container labels.

The engine's labels are the only book: a container that carries `cloudq.device` is a booking, so nothing has to be
rebuilt when a worker starts, and a booking cannot outlive what it was made for. Knows no client.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

DEVICE = "cloudq.device"
"""The label that makes a container one of ours; its value is the device's id."""

MIB = 1024**2
_UNITS = {"": MIB, "m": MIB, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"([1-9][0-9]{0,8})([mgt]?)", re.IGNORECASE)
_RESOLUTION = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

# No processor and no memory is held by these; what their /data has on the disk stays.
_AT_REST = frozenset({"exited", "dead"})


def device_id(text: str) -> str:
    """Return `text` unchanged, or raise ValueError when no container and no folder could bear it as a name."""
    if not _DEVICE_ID.fullmatch(text):
        raise ValueError("must be up to 63 letters, digits, dots, dashes and underscores, not starting with a mark")
    return text


def parse_size(value: int | str) -> int:
    """Bytes of `4g`, `512m`, `1t`, or of a whole number of MiB. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value * MIB
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a size such as 4g or 512m, or a whole number of MiB")
    return int(found[1]) * _UNITS[found[2].lower()]


def show_size(size: int) -> str:
    """Bytes as a person reads them: `4g`, `512m`."""
    return f"{size // _UNITS['g']}g" if size % _UNITS["g"] == 0 else f"{size // MIB}m"


def parse_resolution(text: str) -> tuple[int, int]:
    """Width and height of `1080x1920`. Raises ValueError."""
    found = _RESOLUTION.fullmatch(text)
    if found is None:
        raise ValueError("must be WIDTHxHEIGHT in pixels, such as 1080x1920")
    return int(found[1]), int(found[2])


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """How one device is made. `memory` and `storage` in bytes, `cpu` in processors."""

    image: str
    resolution: str
    dpi: int
    cpu: float
    memory: int
    storage: int
    network: str

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same with what `changes` says; None says nothing."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})

    def labels(self) -> dict[str, str]:
        return {
            "cloudq.resolution": self.resolution,
            "cloudq.dpi": str(self.dpi),
            "cloudq.cpu": str(self.cpu),
            "cloudq.memory": str(self.memory),
            "cloudq.storage": str(self.storage),
            "cloudq.network": self.network,
        }

    def as_labelled(self, labels: Mapping[str, str]) -> Self:
        """The same with what a container's labels say; a label that cannot be read says nothing."""
        return self.changed(
            {
                "resolution": _read(labels, "cloudq.resolution", lambda text: text if parse_resolution(text) else None),
                "dpi": _amount(labels, "cloudq.dpi", int),
                "cpu": _amount(labels, "cloudq.cpu", float),
                "memory": _amount(labels, "cloudq.memory", int),
                "storage": _amount(labels, "cloudq.storage", int),
                "network": labels.get("cloudq.network"),
            }
        )


def _read(labels: Mapping[str, str], key: str, parse: Any) -> Any:
    try:
        return parse(labels[key])
    except (KeyError, ValueError):
        return None


def _amount(labels: Mapping[str, str], key: str, kind: type[int | float]) -> Any:
    """A number above nothing: what is below, endless or no number at all would give away what others have booked."""
    found = _read(labels, key, kind)
    return found if found is not None and 0 < found < math.inf else None


@dataclass(frozen=True, slots=True)
class DeviceContainer:
    """One container of ours as the engine lists it."""

    id: str
    state: str
    labels: Mapping[str, str]
    name: str

    @property
    def device(self) -> str:
        return self.labels.get(DEVICE, "")

    @property
    def user(self) -> str:
        return self.labels.get("cloudq.user", "")

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def at_rest(self) -> bool:
        return self.state in _AT_REST


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of a host: processors, and bytes of memory and of storage."""

    cpu: float = 0.0
    memory: int = 0
    storage: int = 0

    @classmethod
    def of(cls, spec: DeviceSpec) -> Self:
        return cls(spec.cpu, spec.memory, spec.storage)

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.cpu + other.cpu, self.memory + other.memory, self.storage + other.storage)


def booked(containers: Iterable[DeviceContainer]) -> Resources:
    """What these containers hold. A stopped device keeps its storage only, all containers of one device the same."""
    total, storage = Resources(), dict[str, int]()
    for container in containers:
        labels, device = container.labels, container.device
        storage[device] = max(storage.get(device, 0), _amount(labels, "cloudq.storage", int) or 0)
        if not container.at_rest:
            cpu, memory = _amount(labels, "cloudq.cpu", float) or 0.0, _amount(labels, "cloudq.memory", int) or 0
            total += Resources(cpu, memory)
    return total + Resources(storage=sum(storage.values()))


def shortage(capacity: Resources, taken: Resources, wanted: Resources) -> str:
    """What `wanted` lacks on a host of `capacity` with `taken` booked, in words; "" when it fits."""
    lacks = []
    if taken.cpu + wanted.cpu > capacity.cpu + 1e-9:
        lacks.append(f"cpu {wanted.cpu:g} wanted, {max(0.0, capacity.cpu - taken.cpu):g} of {capacity.cpu:g} free")
    for name in ("memory", "storage"):
        want, have, all_of_it = getattr(wanted, name), getattr(taken, name), getattr(capacity, name)
        if have + want > all_of_it:
            free = show_size(max(0, all_of_it - have))
            lacks.append(f"{name} {show_size(want)} wanted, {free} of {show_size(all_of_it)} free")
    return "; ".join(lacks)

"""A narrow client of one container engine, over the Docker SDK's low-level calls.

Sorts every fault: TemporaryFailure may pass by itself (timeouts, an engine that is away, conflicts), and
PermanentFailure will not (a missing image, arguments the engine refuses).
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException, NotFound
from docker.types import Mount
from docker.utils import kwargs_from_env

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from tasks.clients.watchdog import within
from tasks.contacts import peer_words
from tasks.devices import DEVICE, DeviceContainer, DeviceSpec, Resources

ADB_PORT = 5555
"""Where a device listens for ADB inside its container."""

# Not nano_cpus: an engine refuses to change a limit later that was given as those.
CPU_PERIOD = 100_000
_SHORTEST = 0.05  # seconds; a socket timeout of 0 would mean none at all

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the engine is; "" means DOCKER_HOST or the usual socket. `timeout` in seconds for any one call."""

    url: str = ""
    timeout: float = 30.0

    @contextmanager
    def session(self, time_remaining: Callable[[], float] = lambda: math.inf) -> Iterator[EngineSession]:
        """A session of one run of one job; `time_remaining` bounds every wait (seconds)."""
        session = EngineSession(self, time_remaining)
        try:
            yield session
        finally:
            session.close()

    @property
    def place(self) -> str:
        """The engine as messages name it."""
        return self.url or "the usual place (set devices.docker_url)"


@dataclass(frozen=True, slots=True)
class EngineHost:
    """The machine behind an engine. `id` is the engine's own, the same from wherever it is reached."""

    id: str
    name: str
    capacity: Resources


@dataclass(frozen=True, slots=True)
class Creation:
    """What one container is made of, besides its device's spec."""

    labels: Mapping[str, str]
    data: Path
    arguments: Sequence[str]
    adb_bind: str


class EngineSession:
    """One conversation with the engine. Not thread-safe: it belongs to one run of one job."""

    def __init__(self, engine: Engine, time_remaining: Callable[[], float]) -> None:
        self._engine = engine
        self._time_remaining = time_remaining
        self._api: docker.APIClient | None = None

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    # looking ----------------------------------------------------------------------------------------------

    def host(self) -> EngineHost:
        info: Mapping[str, Any] = self._call("info", lambda api: api.info())
        capacity = Resources(cpu=float(info.get("NCPU") or 0), memory=int(info.get("MemTotal") or 0))
        return EngineHost(str(info.get("ID") or info.get("Name") or "engine"), str(info.get("Name") or ""), capacity)

    def devices(self, device: str | None = None) -> list[DeviceContainer]:
        """Every container that is one of ours, whatever its state; or those of one device."""
        label = DEVICE if device is None else f"{DEVICE}={device}"
        found: list[Mapping[str, Any]] = self._call(
            "list", lambda api: api.containers(all=True, filters={"label": [label]})
        )
        return [_listed(one) for one in found]

    def find(self, device: str) -> DeviceContainer | None:
        found = self.devices(device)
        # Of several the one that runs is the device, or else the newest: a start keeps the one before it to the end.
        return max(found, key=lambda one: (one.running, not one.at_rest), default=None)

    def port(self, container: str) -> int | None:
        """The host's port for ADB now: a published one changes with every start. None when nothing is published."""
        seen = self._inspect(container)
        bindings = (seen.get("NetworkSettings", {}).get("Ports") or {}).get(f"{ADB_PORT}/tcp") or []
        return int(bindings[0]["HostPort"]) if bindings else None

    def ended(self, container: str) -> str:
        """Why a container does not run, in a line; "" while it does."""
        state: Mapping[str, Any] = self._inspect(container)["State"]
        if state.get("Running"):
            return ""
        last: bytes = self._call("logs", lambda api: api.logs(container, tail=3))
        why = "out of memory" if state.get("OOMKilled") else str(state.get("Error") or "")
        said = peer_words(f"{why} {last.decode(errors='replace')}".strip())
        return f"its container ended with status {state.get('ExitCode')}" + (f": {said}" if said else "")

    def require(self, image: str) -> None:
        """Raises PermanentFailure when the engine lacks it: known before anything is given up for it."""
        self._call("inspect", lambda api: api.inspect_image(image))

    def _inspect(self, container: str) -> Mapping[str, Any]:
        seen: Mapping[str, Any] = self._call("inspect", lambda api: api.inspect_container(container))
        return seen

    # acting -----------------------------------------------------------------------------------------------

    def create(self, spec: DeviceSpec, creation: Creation) -> DeviceContainer:
        """Make a container and book its resources with it; it does not run yet."""
        labels = {**spec.labels(), **creation.labels}
        shared = spec.network == "host"

        def make(api: docker.APIClient) -> Mapping[str, Any]:
            limits = api.create_host_config(
                privileged=True,  # redroid mounts binder and its own partitions
                cpu_period=CPU_PERIOD,
                cpu_quota=int(spec.cpu * CPU_PERIOD),
                mem_limit=spec.memory,
                network_mode=spec.network,
                mounts=[Mount("/data", str(creation.data), type="bind")],
                port_bindings=None if shared else {ADB_PORT: (creation.adb_bind, None)},
            )
            made: Mapping[str, Any] = api.create_container(
                spec.image,
                command=list(creation.arguments),
                name=container_name(labels[DEVICE]),
                labels=labels,
                ports=None if shared else [ADB_PORT],
                host_config=limits,
            )
            return made

        name = container_name(labels[DEVICE])
        return DeviceContainer(self._call("create", make)["Id"], "created", labels, name)

    def set_aside(self, container: DeviceContainer) -> None:
        """Free the device's name for its next container; this one keeps all else."""
        if container.name == container_name(container.device):
            self._call("rename", lambda api: api.rename(container.id, f"{container.name}-{container.id[:12]}"))

    def start(self, container: str) -> None:
        self._call("start", lambda api: api.start(container))

    def stop(self, container: str, grace: float) -> None:
        """Ask it to end and, after `grace` seconds, kill it. One that has gone is as good."""
        patience = int(max(0.0, min(grace, self._time_remaining() - 2.0)))

        def stop(api: docker.APIClient) -> None:
            with suppress(NotFound):
                api.stop(container, timeout=patience)

        self._call("stop", stop, more=patience)

    def remove(self, container: str) -> None:
        """Remove it, running or not. One that has gone is as good."""

        def remove(api: docker.APIClient) -> None:
            with suppress(NotFound):
                api.remove_container(container, force=True, v=True)

        self._call("remove", remove)

    # faults -----------------------------------------------------------------------------------------------

    def _call(self, what: str, act: Callable[[docker.APIClient], T], more: float = 0.0) -> T:
        """What `act` does with the client, its faults sorted. `more` is what the engine itself takes of the time.

        Each wait of the client's begins anew with every byte, so the whole has a limit too.
        """
        limit = max(_SHORTEST, min(self._engine.timeout + more, self._time_remaining()))
        ends = time.monotonic() + limit
        try:
            if self._api is None:
                self._api = within(limit, lambda: self._connect(limit))
            api = self._api
            api.timeout = limit
            return within(ends - time.monotonic(), lambda: act(api))
        except (DockerException, requests.RequestException, OSError) as error:
            if isinstance(error, TimeoutError):
                self.close()  # a thread that was left behind still speaks over it
            raise self._fault(error, what, limit) from error

    def _connect(self, limit: float) -> docker.APIClient:
        given = {"base_url": self._engine.url} if self._engine.url else kwargs_from_env()
        _knock(str(given.get("base_url") or DEFAULT_UNIX_SOCKET.removeprefix("http+")), limit)
        return docker.APIClient(**given, version="auto", timeout=limit)

    def _fault(self, error: Exception, what: str, limit: float) -> JobSignal:
        if isinstance(error, APIError):
            return self._refusal(error, what)
        words = " ".join(str(one) for one in _causes(error))
        if isinstance(error, TimeoutError) or "timed out" in words.lower() or self._time_remaining() <= 0:
            return TemporaryFailure(f"timeout: container engine at {self._engine.place}, {what} ({limit:g}s)")
        if isinstance(error, DockerException) and "scheme" in words.lower():
            return PermanentFailure(f"devices.docker_url: {urlsplit(self._engine.url).scheme or 'it'} cannot be used")
        reason = next((one.strerror for one in _causes(error) if isinstance(one, OSError) and one.strerror), "")
        reason = peer_words(reason or str(error))
        return TemporaryFailure(f"cannot reach the container engine at {self._engine.place}: {reason}")

    @staticmethod
    def _refusal(error: APIError, what: str) -> JobSignal:
        said = peer_words(str(error.explanation or error))
        code = error.status_code or 0
        if code == 404 and "image" in said.lower():
            return PermanentFailure(f"the container engine lacks the image: {said} (pull it, or set devices.image)")
        kind = PermanentFailure if code in {400, 403} else TemporaryFailure
        return kind(f"container engine, {what}: {code} {said}")


def _listed(one: Mapping[str, Any]) -> DeviceContainer:
    name = str((one.get("Names") or [""])[0]).removeprefix("/")
    return DeviceContainer(one["Id"], str(one.get("State", "")), dict(one.get("Labels") or {}), name)


def _knock(url: str, limit: float) -> None:
    """Raises OSError when nothing listens at a unix socket: the SDK buries that, and leaks the socket."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(limit)
            probe.connect(url.removeprefix("unix://"))


def container_name(device: str) -> str:
    """The one name a device's container bears, so that the engine refuses a second."""
    return f"cloudq-{device}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was made of: clients wrap the one that matters in several of their own."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        more = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting.extend(inner for inner in more if isinstance(inner, BaseException))

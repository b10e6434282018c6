"""Files that a job leaves behind: whole under their own name, or not at all.

A file is written under a temporary name inside the folder and renamed when it is complete. While its writer lives,
that name is locked; what a killed writer left is not, and the next job in the folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloudq_tui.errors import PermanentFailure, TemporaryFailure

_PARTIAL = re.compile(r"^\.[A-Za-z0-9_.:@-]+\.[0-9a-f]{16}\.partial$")
_SCRATCH = ".d"
_LONGEST_NAME = 220  # bytes; a temporary name has 28 more, and room for 255
_PIECE = 1 << 20
_LATER = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EAGAIN})


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A complete file: where it is, how large, and the SHA-256 of what the disk gives back."""

    path: Path
    size: int
    sha256: str


class OutputFile:
    """One file in the making. `file` is open for reading and writing."""

    def __init__(self, folder: int, where: Path, name: str, partial: str, file: BinaryIO) -> None:
        self.file = file
        self._folder = folder
        self._where = where
        self._name = name
        self._partial = partial

    def scratch(self) -> Path:
        """A folder for temporary files, removed with this file's temporary name."""
        path = self._where / (self._partial + _SCRATCH)
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def publish(self, check: Callable[[], None]) -> WrittenFile:
        """Sync, read it back for the checksum, and give it its name. `check` is called between pieces."""
        self.file.flush()
        os.fsync(self.file.fileno())
        digest, size = hashlib.sha256(), 0
        self.file.seek(0)
        while piece := self.file.read(_PIECE):
            check()
            digest.update(piece)
            size += len(piece)
        # Before the file has its name: a sweep finds a killed writer's folder by the temporary name only.
        _remove_scratch(self._folder, self._partial)
        # By the folder's descriptor, so that neither a swapped folder nor a link under that name leads elsewhere.
        os.rename(self._partial, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)
        return WrittenFile(self._where / self._name, size, digest.hexdigest())


class OutputFolder:
    """The one folder in which a kind of job writes. `setting` is named when it is missing."""

    def __init__(self, root: Path | None, *, setting: str) -> None:
        self._root = root
        self._setting = setting

    def require(self) -> Path:
        """The folder. Raises PermanentFailure when the settings name none."""
        if self._root is None:
            raise PermanentFailure(f"{self._setting} is not set in the worker's settings")
        return self._root

    def has(self, name: str, size: int) -> bool:
        """Whether a plain file of that name and size lies there."""
        try:
            found = os.lstat(self.require() / plain_name(name))
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    @contextmanager
    def create(self, name: str) -> Iterator[OutputFile]:
        """A new file that will be `name`; removed unless it was published.

        Raises PermanentFailure or TemporaryFailure for what the disk refuses.
        """
        root, name = self.require(), plain_name(name)
        with _told(self._setting):
            root.mkdir(parents=True, exist_ok=True)
            folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sweep(folder)
                partial, descriptor = _locked_new(folder, name)
                try:
                    with os.fdopen(descriptor, "r+b") as file:
                        yield OutputFile(folder, root, name, partial, file)
                finally:
                    _remove(folder, partial)
            finally:
                os.close(folder)


def plain_name(name: str) -> str:
    """`name` without anything that could be a folder, an option or a hidden file; what a job's id may hold stays."""
    return re.sub(r"[^A-Za-z0-9_.:@-]", "_", name).lstrip(".-")[:_LONGEST_NAME]


@contextmanager
def _told(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = TemporaryFailure if error.errno in _LATER else PermanentFailure
        raise kind(f"{setting}: the file cannot be written: {error.strerror or error}") from error


def _locked_new(folder: int, name: str) -> tuple[str, int]:
    """A new locked file. A sweep that saw it before it was locked has removed it: then another."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        partial = f".{name}.{secrets.token_hex(8)}.partial"
        descriptor = os.open(partial, flags, 0o600, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return partial, descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _sweep(folder: int) -> None:
    """Remove what killed writers left."""
    for name in os.listdir(folder):
        if not _PARTIAL.match(name):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder, name)
            finally:
                os.close(descriptor)


def _remove_scratch(folder: int, partial: str) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(partial + _SCRATCH, dir_fd=folder)


def _remove(folder: int, partial: str) -> None:
    _remove_scratch(folder, partial)
    with contextlib.suppress(OSError):
        os.unlink(partial, dir_fd=folder)

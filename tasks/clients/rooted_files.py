"""Files of the worker's host, only from inside the folders that the settings allow.

Symlinks are resolved first; the resolved path is then opened folder by folder without following any link, and every
later act goes by the folder's descriptor, so that nothing swapped in between leads outside. A new file has a temporary
name, and a lock while its writer lives, until it is complete; what a killed writer left is removed by `sweep`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cloudq_tui.errors import PermanentFailure, TemporaryFailure

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTIAL = re.compile(r"\.cloudq-[0-9a-f]{16}\.partial")
_LATER = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EAGAIN})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the disk refuses into a failure that names `what`; a full disk may be better later."""
    try:
        yield
    except OSError as error:
        kind = TemporaryFailure if error.errno in _LATER else PermanentFailure
        raise kind(f"{what}: {error.strerror or type(error).__name__}") from error


class NewFile:
    """A file in the making; open for reading and writing."""

    def __init__(self, folder: int, partial: str, file: BinaryIO) -> None:
        self.file = file
        self._folder = folder
        self._partial = partial

    def replace(self, name: str) -> None:
        """Give it its name; a file that had it is replaced."""
        self.sync()
        os.rename(self._partial, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)

    def add(self, name: str) -> None:
        """Give it its name. Raises FileExistsError when another file has it."""
        self.sync()
        try:
            os.link(self._partial, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Without hard links there is no rename that refuses to replace: look first.
            if _entry(self._folder, name) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(self._partial, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)

    def sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


class OpenFolder:
    """One folder inside a root, held open. Its methods raise OSError."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.path = path
        self._descriptor = descriptor

    def open(self, name: str) -> BinaryIO:
        """A plain file of this folder, for reading; a link, a FIFO or a device is refused."""
        # Without O_NONBLOCK a FIFO would hold the worker before anyone can see that it is no plain file.
        descriptor = os.open(name, _FLAGS | os.O_NONBLOCK, dir_fd=self._descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a plain file")
        return os.fdopen(descriptor, "rb")

    def entry(self, name: str) -> os.stat_result | None:
        """What lies there under that name, links not followed; None if nothing does."""
        return _entry(self._descriptor, name)

    def names(self) -> list[str]:
        """All names there, in order."""
        with os.scandir(self._descriptor) as found:
            return sorted(entry.name for entry in found)

    def entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """All that lies there, links not followed; what vanishes meanwhile is left out."""
        for name in self.names():
            if (found := self.entry(name)) is not None:
                yield name, found

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    @contextmanager
    def new(self, mode: int = 0o666) -> Iterator[NewFile]:
        """A file under a temporary name; removed unless it got a name of its own. `mode` is cut by the umask."""
        partial, descriptor = self._locked_new(mode)
        try:
            with os.fdopen(descriptor, "r+b") as file:
                yield NewFile(self._descriptor, partial, file)
        finally:
            with suppress(OSError):
                self.remove(partial)

    def sweep(self) -> None:
        """Remove what killed writers left: their locks fell with them."""
        for name in self.names():
            if not is_partial(name):
                continue
            with suppress(OSError), self.open(name) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove(name)

    def _locked_new(self, mode: int) -> tuple[str, int]:
        """A new locked file. A sweep that saw it before it was locked has removed it: then another."""
        while True:
            partial = f".cloudq-{secrets.token_hex(8)}.partial"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(partial, flags, mode, dir_fd=self._descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return partial, descriptor
            os.close(descriptor)


class RootedFiles:
    """What lies under `roots`; `setting` is the key named when a path leads elsewhere."""

    def __init__(self, roots: Sequence[Path], *, setting: str) -> None:
        self.roots = tuple(Path(os.path.realpath(root)) for root in roots)
        self.setting = setting

    def resolve(self, path: str) -> Path:
        """The absolute `path` with its links resolved. Raises PermanentFailure outside the roots."""
        if not self.roots:
            raise PermanentFailure(f"{self.setting} is empty in the worker's settings: no file may be touched")
        with told("the path cannot be followed"):
            target = Path(os.path.realpath(path))
        if not path.startswith("/") or self._root_of(target) is None:
            raise PermanentFailure(f"the path is outside {self.setting}")
        return target

    @contextmanager
    def folder(self, path: Path) -> Iterator[OpenFolder]:
        """Hold a resolved folder open. Raises PermanentFailure outside the roots, OSError when it cannot be opened."""
        root = self._root_of(path)
        if root is None:
            raise PermanentFailure(f"the path is outside {self.setting}")
        descriptor = _open_beneath(root, path.relative_to(root).parts)
        try:
            yield OpenFolder(descriptor, path)
        finally:
            os.close(descriptor)

    def _root_of(self, path: Path) -> Path | None:
        return next((root for root in self.roots if path.is_relative_to(root)), None)


def _open_beneath(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of the folder `parts` below `root`; no link is followed on the way."""
    here = os.open(root, _FLAGS | os.O_DIRECTORY)
    for part in parts:
        try:
            inner = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = inner
    return here


def _entry(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_partial(name: str) -> bool:
    """Whether a file of that name is one in the making, or what a killed writer left of one."""
    return _PARTIAL.fullmatch(name) is not None

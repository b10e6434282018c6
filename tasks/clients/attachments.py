"""Reads attached files, only from inside the folders that the settings allow."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cloudq_tui.errors import PermanentFailure


class AttachmentFiles:
    """The files under `roots`; at most `max_size` bytes each."""

    def __init__(self, roots: Sequence[Path], *, max_size: int) -> None:
        self._roots = tuple(Path(os.path.realpath(root)) for root in roots)
        self.max_size = max_size

    def read(self, path: str) -> bytes:
        """The bytes of `path`. Raises PermanentFailure for anything outside the roots or not a plain file.

        Symlinks are resolved first; the resolved path is then opened folder by folder without following any
        link, so that one swapped in between cannot lead outside.
        """
        if not self._roots:
            raise PermanentFailure("attachments by path need email.attachment_roots in the worker's settings")
        target = Path(os.path.realpath(path))
        root = next((root for root in self._roots if target.is_relative_to(root)), None)
        if root is None or not Path(path).is_absolute():
            raise PermanentFailure("attachment path is outside email.attachment_roots")
        try:
            with open(_open_beneath(root, target.relative_to(root).parts), "rb") as file:
                data = file.read(self.max_size + 1)
        except OSError as error:
            raise PermanentFailure(f"attachment cannot be read: {error.strerror}") from None
        if len(data) > self.max_size:
            raise PermanentFailure(f"attachment exceeds email.max_attachment_size ({self.max_size} bytes)")
        return data


def _open_beneath(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of the plain file `parts` below `root`; no link is followed on the way."""
    if not parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # Without O_NONBLOCK a FIFO would hold the worker before anyone can see that it is no plain file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    here = os.open(root, flags | os.O_DIRECTORY)
    try:
        for folder in parts[:-1]:
            inner = os.open(folder, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        found = os.open(parts[-1], flags, dir_fd=here)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            raise OSError(errno.EINVAL, "not a plain file")
        return found
    finally:
        os.close(here)

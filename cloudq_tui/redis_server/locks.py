"""Advisory file locks, freed by the kernel when the last process that holds the descriptor ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from cloudq_tui.errors import QueueUnavailable

POLL = 0.01  # seconds between tries: flock cannot wait with a limit


class FileLock:
    """flock on a file made when missing. Closing gives it up, except where a child inherited the descriptor:
    it belongs to all who share it, which is why nothing here unlocks on close."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if that is possible now. Raises QueueUnavailable where the folder cannot hold locks."""
        try:
            if self.fd < 0:
                self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise QueueUnavailable(f"cannot lock {self.path}: {error.strerror}") from None
        if self.is_current():
            return True
        self.close()  # the folder was removed and made again under our feet: this was the old file
        return False

    def take(self, deadline: float, *, shared: bool = False, done: Callable[[], bool] = lambda: False) -> bool:
        """Take the lock by `deadline` (time.monotonic()), or stop trying, with False, as soon as `done` says so.

        Raises QueueUnavailable at the deadline.
        """
        while not self.try_take(shared=shared):
            if done():
                return False
            if time.monotonic() > deadline:
                raise QueueUnavailable(f"the embedded Redis is busy: {self.path} stays locked by another process")
            time.sleep(POLL)
        return True

    def is_current(self) -> bool:
        """Whether the file held open is still the one of that name."""
        if self.fd < 0:
            return False
        try:
            named, held = self.path.stat(), os.fstat(self.fd)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        """Unlock for everybody who shares the descriptor, and keep the file open."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

"""What the sibling worker processes of one consumer run now, in memory they share.

It lets no queue hold the last worker process. To enter is exact, under a file lock that falls with a process that
is killed; to look is a glance.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Crowd:
    """One place per worker process: its pid, and the number of the queue it runs a job of (0: none)."""

    def __init__(self, workers: int, queues: Sequence[str]) -> None:
        self._numbers = {queue: number for number, queue in enumerate(queues, start=1)}
        self._places = multiprocessing.get_context("fork").RawArray("i", 2 * workers)
        # POSIX record locks belong to the process, so one descriptor serves all the forked ones.
        self._lock, path = tempfile.mkstemp(prefix="cloudq-")
        os.unlink(path)  # noqa: PTH108 - no name is needed
        weakref.finalize(self, os.close, self._lock)
        self._mine: int | None = None
        self._pid = 0

    def enter(self, queue: str, most: int, beside: Sequence[str] = (), *, first: bool = False) -> bool:
        """Run a job of that queue here from now on, unless `most` siblings run one of it, or of those beside it;
        `first`: the queue's first one is let in anyway."""
        place = self._place()
        if place is None:
            return True
        with self._exclusively():
            if self.elsewhere(queue, *beside) >= most and not (first and not self.elsewhere(queue)):
                return False
            self._places[place + 1] = self._numbers.get(queue, 0)
        return True

    def leave(self) -> None:
        """This process runs no job now."""
        place = self._place()
        if place is not None:
            self._places[place + 1] = 0

    def elsewhere(self, *queues: str) -> int:
        """How many siblings run a job of those queues."""
        mine, numbers = self._place(), {self._numbers.get(queue, -1) for queue in queues}
        return sum(
            1
            for place in range(0, len(self._places), 2)
            if place != mine and self._places[place + 1] in numbers and _alive(self._places[place])
        )

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _place(self) -> int | None:
        """The place of this process; taken from a dead sibling where none is free."""
        pid = os.getpid()
        if self._pid != pid:
            self._pid, self._mine = pid, None
        if self._mine is None:
            with self._exclusively():
                free = (place for place in range(0, len(self._places), 2) if not _alive(self._places[place]))
                self._mine = next(free, None)
                if self._mine is not None:
                    self._places[self._mine], self._places[self._mine + 1] = pid, 0
        return self._mine


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

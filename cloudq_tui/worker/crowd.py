"""What the sibling worker processes of one consumer run now, in memory they share.

It lets no queue hold the last worker process. A glance, not a lock: two processes may pass it in the same instant;
the engine's own concurrency limits are exact.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence


class Crowd:
    """One place per worker process: its pid, and the number of the queue it runs a job of (0: none)."""

    def __init__(self, workers: int, queues: Sequence[str]) -> None:
        self._numbers = {queue: number for number, queue in enumerate(queues, start=1)}
        self._places = multiprocessing.get_context("fork").RawArray("i", 2 * workers)
        self._mine: int | None = None
        self._pid = 0

    def show(self, queue: str | None) -> None:
        """This process runs a job of that queue now, or none."""
        place = self._place()
        if place is not None:
            self._places[place + 1] = 0 if queue is None else self._numbers.get(queue, 0)

    def elsewhere(self, queue: str) -> int:
        """How many siblings run a job of that queue."""
        mine, number = self._place(), self._numbers.get(queue, -1)
        return sum(
            1
            for place in range(0, len(self._places), 2)
            if place != mine and self._places[place + 1] == number and _alive(self._places[place])
        )

    def _place(self) -> int | None:
        """The place of this process; taken from a dead sibling where none is free."""
        pid = os.getpid()
        if self._pid != pid:
            self._pid, self._mine = pid, None
        if self._mine is None:
            for place in range(0, len(self._places), 2):
                if not _alive(self._places[place]):
                    self._places[place] = pid
                    if self._places[place] == pid:
                        self._mine = place
                        break
        elif self._places[self._mine] != pid:
            self._mine = None  # a sibling took the same place in the same instant
        return self._mine


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

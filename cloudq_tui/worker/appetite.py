"""How many jobs of which queue a process wants next: fair shares of its threads, and claims ahead of quick jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudq_tui.engine.records import QueueClaim

if TYPE_CHECKING:
    from cloudq_tui.worker.crowd import Crowd
    from cloudq_tui.worker.huey import CloudqHuey

MOST = 64  # jobs in one claim
HAND = 128  # jobs claimed ahead at once
AHEAD = 0.005  # seconds of work claimed ahead per thread
_FORGET = 0.8  # weight of the past in a queue's mean duration


class Appetite:
    """Not thread-safe: the exchange asks under its own lock.

    `workers` threads of this process run jobs, `pool` in all processes of the consumer; `crowd` knows what the
    others run.
    """

    def __init__(self, huey: CloudqHuey, workers: int, *, crowd: Crowd | None = None, pool: int = 0) -> None:
        self._huey = huey
        self._workers = workers
        self._pool = pool or workers
        self._crowd = crowd
        self._busy: Counter[str] = Counter()
        self._mean: dict[str, float] = {}
        self._first = 0

    def start(self, queue: str) -> bool:
        """Whether a thread may run a job of that queue now; if so it counts from here on.

        Where several queues are served none gets the last thread, so that slow ones cannot hold them all.
        """
        if not self.has_room(queue):
            return False
        if self._crowd is not None and self._several and not self._crowd.enter(queue, self._pool - 1):
            return False
        self._busy[queue] += 1
        return True

    def ended(self, queue: str, seconds: float) -> None:
        """One slow job stops the claiming ahead at once; it returns as the mean comes down again."""
        self._busy[queue] -= 1
        if self._crowd is not None:
            self._crowd.leave()
        past = self._mean.get(queue, seconds)
        self._mean[queue] = seconds if seconds > 4 * past else _FORGET * past + (1 - _FORGET) * seconds

    def overestimated(self, queue: str) -> None:
        """A job claimed ahead found no thread in time: none more until the queue's jobs show themselves quick."""
        self._mean[queue] = max(self._mean.get(queue, 0.0), 2 * AHEAD * self._workers)

    def has_room(self, queue: str) -> bool:
        """Whether it looks as if a thread may take a job of that queue now."""
        return self._busy[queue] < self._share(queue)

    def rotated(self) -> Sequence[str]:
        """The served queues, each time beginning with the next."""
        served = self._huey.served()
        if not served:
            return ()
        self._first = (self._first + 1) % len(served)
        return served[self._first :] + served[: self._first]

    def claims(self, idle: int, ready: Counter[str]) -> tuple[list[QueueClaim], int]:
        """A job for each of `idle` threads, and ahead as many as a queue's jobs are quick; `ready` wait already.

        A queue with a limiter or a concurrency limit is claimed for free threads only: its starts are counted.
        """
        claims, most_ahead = [], 0
        limited = any(self._huey.engine.limiter)
        for queue in self.rotated():
            share, limits = self._share(queue), self._huey.limits(queue)
            if not share:
                continue
            room = min(idle, share - self._busy[queue] - ready[queue])
            ahead = 0 if limited or any(limits) else self._ahead(queue) - ready[queue]
            want = max(0, room) + max(0, ahead)
            if want > 0:
                claims.append(QueueClaim(queue, want, *limits))
                most_ahead = max(most_ahead, ahead)
        return claims, min(MOST, idle + most_ahead)

    @property
    def _several(self) -> bool:
        return self._pool > 1 and len(self._huey.served()) > 1

    def _share(self, queue: str) -> int:
        share = self._workers
        if self._several:
            others = self._crowd.elsewhere(queue) if self._crowd is not None else 0
            share = max(0, min(share, self._pool - 1 - others))
        most = self._huey.options_of(queue).per_worker
        return min(share, most) if most else share

    def _ahead(self, queue: str) -> int:
        mean = self._mean.get(queue)
        return 0 if mean is None else min(HAND, int(AHEAD * self._workers / max(mean, 1e-5)))

"""How many jobs of which queue a process wants next: fair shares of its threads, and claims ahead of quick jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudq_tui.engine.records import QueueClaim

if TYPE_CHECKING:
    from cloudq_tui.worker.crowd import Crowd
    from cloudq_tui.worker.huey import CloudqHuey

MOST = 128  # jobs in one claim
HAND = 192  # jobs claimed ahead at once
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
        self._starts = 0
        self._last: dict[str, int] = {}  # by queue, the number of its last start
        self._served: Sequence[str] = ()
        self._capped: tuple[str, ...] = ()
        self._company: dict[str, tuple[str, ...]] = {}

    def start(self, queue: str) -> bool:
        """Whether a thread may run a job of that queue now; if so it counts from here on.

        Where several queues are served the last thread is kept for a queue that runs nothing and has no cap of its
        own: the capped ones are the slow ones, which together, or with one other, must not hold every thread. They
        leave a second one, so that one slow job of another queue does not take the last.
        """
        if not self.has_room(queue):
            return False
        if self._crowd is not None and self._several:
            beside = self._beside(queue)
            most = self._pool - self._spared(queue)
            if not self._crowd.enter(queue, most, beside, first=queue not in self._capped):
                return False
        self._busy[queue] += 1
        self._starts += 1
        self._last[queue] = self._starts
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

    def in_turn(self) -> list[str]:
        """The served queues: the longer none of a queue's jobs was started, the sooner it is served."""
        return sorted(self._huey.served(), key=lambda queue: self._last.get(queue, 0))

    def claims(self, idle: int, ready: Counter[str]) -> tuple[list[QueueClaim], int]:
        """A job for each of `idle` threads, and ahead as many as a queue's jobs are quick; `ready` wait already.

        A queue with a limiter or a concurrency limit is claimed for free threads only: its starts are counted. But
        where some wait, one job of each queue that has none among them is wanted too: it would stay out for as long
        as the quick ones of another last.
        """
        claims, most_ahead = [], 0
        each = max(idle, 1 if ready else 0)
        limited = any(self._huey.engine.limiter)
        for queue in self.in_turn():
            share, limits = self._share(queue), self._huey.limits(queue)
            if not share:
                continue
            room = min(each, share - self._busy[queue] - ready[queue])
            ahead = 0 if limited or any(limits) else self._ahead(queue) - ready[queue]
            want = max(0, room) + max(0, ahead)
            if want > 0:
                claims.append(QueueClaim(queue, want, *limits))
                most_ahead = max(most_ahead, ahead)
        return claims, min(MOST, max(1, idle + most_ahead))

    @property
    def _several(self) -> bool:
        return self._pool > 1 and len(self._huey.served()) > 1

    def _share(self, queue: str) -> int:
        share = self._workers
        if self._several:
            share = min(share, self._left(queue))
        most = self._huey.options_of(queue).per_worker
        return min(share, most) if most else share

    def _left(self, queue: str) -> int:
        """Jobs of that queue that leave threads free; the first one of a queue without a cap may take the last."""
        beside = self._beside(queue)
        others = sum(self._busy[other] for other in beside)
        elsewhere = 0
        if self._crowd is not None:
            others += self._crowd.elsewhere(queue, *beside)
            elsewhere = self._crowd.elsewhere(queue)
        left = self._pool - self._spared(queue) - others
        return max(0 if elsewhere or queue in self._capped else 1, left)

    def _spared(self, queue: str) -> int:
        """Threads that jobs of that queue leave free."""
        several_quick = len(self._served) - len(self._capped) > 1
        return 2 if queue in self._capped and several_quick and self._pool > 2 else 1

    def _beside(self, queue: str) -> Sequence[str]:
        """The queues that must leave a thread free together with this one."""
        served = self._huey.served()
        if served != self._served:
            self._served, self._capped = served, tuple(filter(self._is_capped, served))
            counted = {one: served if one in self._capped else self._capped for one in served}
            self._company = {one: tuple(other for other in all_ if other != one) for one, all_ in counted.items()}
        return self._company.get(queue, ())

    def _is_capped(self, queue: str) -> bool:
        options = self._huey.options_of(queue)
        return bool(options.concurrency or options.per_worker)

    def _ahead(self, queue: str) -> int:
        mean = self._mean.get(queue)
        return 0 if mean is None else min(HAND, int(AHEAD * self._workers / max(mean, 1e-5)))

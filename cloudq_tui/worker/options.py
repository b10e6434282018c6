"""How a worker treats its queues and its leases. Plain data; a front end fills it from the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudq_tui.engine.records import Retention


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """One queue's rules. 0 means no limit.

    `concurrency` counts active jobs anywhere, `per_worker` those of one worker process. `limiter` is (starts, ms):
    at most so many starts in any window of that length, over all workers.
    """

    concurrency: int = 0
    per_worker: int = 0
    limiter: tuple[int, int] = (0, 0)
    retention: Retention = field(default_factory=Retention)


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """Seconds: how long a lease lasts, how often it is renewed, how often leases that ran out are looked for."""

    lease: float = 15.0
    renew: float = 5.0
    sweep: float = 2.0
    max_stalled: int = 3

    @property
    def lease_ms(self) -> int:
        return round(self.lease * 1000)

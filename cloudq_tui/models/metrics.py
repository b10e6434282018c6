"""What a queue did, by job name and by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000)
"""Upper ends, included, of a histogram's buckets; a last one takes what is longer. The scripts get them from here."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, in ms; None where it never happened. The percentiles are estimates."""

    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, total: int, buckets: Sequence[int]) -> Spread:
        """From the sum of all times (ms) and how many fell into each bucket."""
        count = sum(buckets)
        if not count:
            return cls()
        return cls(total / count, *(_percentile(buckets, share * count) for share in (0.5, 0.95, 0.99)))


def _percentile(buckets: Sequence[int], rank: float) -> float:
    """As Prometheus' histogram_quantile: evenly spread within a bucket; beyond the last bound, that bound."""
    below = 0
    for at, (bound, inside) in enumerate(zip(BOUNDS_MS, buckets, strict=False)):
        if inside and below + inside >= rank:
            low = BOUNDS_MS[at - 1] if at else 0
            return low + (bound - low) * (rank - below) / inside
        below += inside
    return float(BOUNDS_MS[-1])


@dataclass(frozen=True, slots=True)
class JobMetrics:
    """All runs of one job name since the queue exists. `excluded`: revoked, expired or cancelled.

    `duration` is of every run that ended, `wait` from when the job could start until it did; excluded runs are in
    neither.
    """

    name: str
    completed: int = 0
    failed: int = 0
    excluded: int = 0
    retried: int = 0
    duration: Spread = Spread()
    wait: Spread = Spread()


@dataclass(frozen=True, slots=True)
class MinuteMetrics:
    """One minute of a queue, from `at` (epoch ms) on. `busy` sums the ms that the runs which ended in it took."""

    at: int
    completed: int = 0
    failed: int = 0
    excluded: int = 0
    retried: int = 0
    busy: int = 0


@dataclass(frozen=True, slots=True)
class QueueMetrics:
    """What a queue did. `timestamp` is the server's clock, epoch ms; `jobs` are by name, and `minutes` those of the
    last 24 h in which a run ended, oldest first."""

    timestamp: int
    queue: str
    jobs: tuple[JobMetrics, ...] = ()
    minutes: tuple[MinuteMetrics, ...] = ()

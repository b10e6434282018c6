"""How the queues do, as a report tells it: read through the product's operations, never from Redis itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.metrics import JobMetrics, QueueMetrics
from cloudq_tui.models.queue import QueueView, Snapshot

SAMPLE = 200
"""Newest failed jobs of a queue from which faults are grouped."""

SLOT_MS = 30 * 60_000
SLOTS = 48

_TOP_ERRORS = 10
# What differs between two cases of one fault: quoted words, addresses, ids and numbers.
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*@\S+|\b[0-9a-f]{8,}\b|\d[\d.,:]*", re.IGNORECASE)


class Operations(Protocol):
    """What of QueueOperations a report may use: it can look, and do nothing."""

    def snapshot(self) -> Snapshot: ...

    def queue_jobs(self, queue: str, state: JobState | str, start: int = 0, end: int = 19) -> list[Job]: ...

    def metrics(self, queue: str) -> QueueMetrics: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """Failures that look alike. Times in epoch ms; `example` is the newest one's words."""

    queue: str
    job: str
    example: str
    count: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Day:
    """A queue's last 24 hours. `slots` are the finishes by half hour, oldest first; `busiest` is a minute's most."""

    completed: int
    failed: int
    retried: int
    busiest: int
    slots: tuple[int, ...]

    @property
    def failure_rate(self) -> float | None:
        """0 to 1; None without a finish."""
        finishes = self.completed + self.failed
        return self.failed / finishes if finishes else None


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """One queue: what the overview shows, its last day, and its jobs by name, of those that ran."""

    view: QueueView
    day: Day
    jobs: tuple[JobMetrics, ...]


@dataclass(frozen=True, slots=True)
class SystemHealth:
    """All queues at one time (epoch ms), and the faults, most frequent first."""

    at: int
    workers: int
    redis: str
    queues: tuple[QueueHealth, ...]
    faults: tuple[Fault, ...]

    @property
    def alerts(self) -> list[tuple[str, str]]:
        """(queue, text) of every alert that holds."""
        return [(one.view.name, alert.text) for one in self.queues for alert in one.view.alerts]


class HealthReader:
    """Reads the health of some queues, or of all of them."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def read(self, names: Sequence[str] = ()) -> SystemHealth:
        """Raises QueueUnavailable, and KeyError for a name that is no queue."""
        seen = self._operations.snapshot()
        known = {view.name: view for view in seen.queues}
        views = [known[name] for name in names] if names else list(seen.queues)
        failed = {view.name: self._operations.queue_jobs(view.name, JobState.FAILED, 0, SAMPLE - 1) for view in views}
        faults = [fault for name, jobs in failed.items() for fault in group_faults(name, jobs)]
        faults.sort(key=lambda fault: (-fault.count, -fault.last))
        return SystemHealth(
            at=seen.timestamp,
            workers=len(seen.workers),
            redis=seen.redis.version,
            queues=tuple(_health(view, self._operations.metrics(view.name)) for view in views),
            faults=tuple(faults[:_TOP_ERRORS]),
        )


def group_faults(queue: str, jobs: Iterable[Job]) -> list[Fault]:
    """The jobs' errors, those put together that differ in names, numbers and addresses only."""
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if job.error:
            groups.setdefault((job.name, _VARIABLE.sub("*", job.error)), []).append(job)
    found = []
    for (name, _), members in groups.items():
        times = [job.finished_on or job.timestamp for job in members]
        newest = members[times.index(max(times))]
        found.append(Fault(queue, name, newest.error, len(members), min(times), max(times)))
    return found


def _health(view: QueueView, metrics: QueueMetrics) -> QueueHealth:
    ran = (job for job in metrics.jobs if job.completed + job.failed + job.retried)
    return QueueHealth(view, _day(metrics), tuple(ran))


def _day(metrics: QueueMetrics) -> Day:
    slots = [0] * SLOTS
    finishes = [(minute.at, minute.completed + minute.failed) for minute in metrics.minutes]
    for at, count in finishes:
        slots[max(0, SLOTS - 1 - (metrics.timestamp - at) // SLOT_MS)] += count
    return Day(
        completed=sum(minute.completed for minute in metrics.minutes),
        failed=sum(minute.failed for minute in metrics.minutes),
        retried=sum(minute.retried for minute in metrics.minutes),
        busiest=max((count for _, count in finishes), default=0),
        slots=tuple(slots),
    )

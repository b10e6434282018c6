"""How the queues do, as a report tells it: read through the product's operations, never from Redis itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.queue import QueueView, Snapshot

SAMPLE = 200
"""Newest finished jobs of a queue from which percentiles and errors are taken."""

_TOP_ERRORS = 10
# What differs between two cases of one fault: quoted words, addresses, ids and numbers.
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*@\S+|\b[0-9a-f]{8,}\b|\d[\d.,:]*", re.IGNORECASE)


class Operations(Protocol):
    """What of QueueOperations a report may use: it can look, and do nothing."""

    def snapshot(self) -> Snapshot: ...

    def queue_jobs(self, queue: str, state: JobState | str, start: int = 0, end: int = 19) -> list[Job]: ...


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
class QueueHealth:
    """One queue: what the overview shows, and percentiles (ms) over its newest finished jobs."""

    view: QueueView
    run_p50: float | None
    run_p95: float | None
    wait_p50: float | None
    wait_p95: float | None
    sampled: int


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
        failed = {view.name: self._newest(view.name, JobState.FAILED) for view in views}
        faults = [fault for name, jobs in failed.items() for fault in group_faults(name, jobs)]
        faults.sort(key=lambda fault: (-fault.count, -fault.last))
        return SystemHealth(
            at=seen.timestamp,
            workers=len(seen.workers),
            redis=seen.redis.version,
            queues=tuple(_health(view, self._newest(view.name, JobState.COMPLETED)) for view in views),
            faults=tuple(faults[:_TOP_ERRORS]),
        )

    def _newest(self, queue: str, state: JobState) -> list[Job]:
        return self._operations.queue_jobs(queue, state, 0, SAMPLE - 1)


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


def _health(view: QueueView, finished: Sequence[Job]) -> QueueHealth:
    runs = [job.finished_on - job.processed_on for job in finished if job.finished_on and job.processed_on]
    waits = [job.processed_on - job.timestamp for job in finished if job.processed_on]
    return QueueHealth(
        view,
        run_p50=percentile(runs, 0.5),
        run_p95=percentile(runs, 0.95),
        wait_p50=percentile(waits, 0.5),
        wait_p95=percentile(waits, 0.95),
        sampled=len(runs),
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """By the nearest rank; None of nothing."""
    if not values:
        return None
    return max(0.0, sorted(values)[max(0, math.ceil(share * len(values)) - 1)])

"""The platform's JSON shapes of what operations answer: camelCase, epoch ms, null for what is not there.

Used by the REST API, by `--json` on the command line and wherever else a job is handed on as JSON, so that they
cannot differ. Knows no web framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from cloudq_tui.models.event import QueueEvent
from cloudq_tui.models.job import Attempt, Job, JobState
from cloudq_tui.models.metrics import QueueMetrics
from cloudq_tui.models.queue import QueueCounts, QueueStatus
from cloudq_tui.models.worker import WorkerInfo
from cloudq_tui.services.operations import QueueOperations


class Wire(BaseModel):
    """snake_case here, camelCase in JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, from_attributes=True, serialize_by_alias=True
    )


class CountsWire(Wire):
    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    paused: int


class QueueWire(Wire):
    """`problem` is there only where it says why the counts, then all 0, could not be read."""

    name: str
    counts: CountsWire
    problem: Annotated[str, Field(exclude_if=lambda problem: not problem)] = ""


class SummaryWire(Wire):
    total_queues: int
    total_waiting: int
    total_active: int
    total_completed: int
    total_failed: int
    total_paused: int
    total_delayed: int


class StatusWire(Wire):
    """All queues and their sums. `timestamp` is UTC in ISO 8601, to the second."""

    timestamp: str
    queues: list[QueueWire]
    summary: SummaryWire

    @classmethod
    def of(cls, statuses: Sequence[QueueStatus], at: datetime | None = None) -> Self:
        total = QueueCounts(*(sum(column) for column in zip(*map(_counts, statuses), strict=True)))
        return cls(
            timestamp=(at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            queues=[QueueWire.model_validate(status) for status in statuses],
            summary=SummaryWire(
                total_queues=len(statuses),
                total_waiting=total.waiting,
                total_active=total.active,
                total_completed=total.completed,
                total_failed=total.failed,
                total_paused=total.paused,
                total_delayed=total.delayed,
            ),
        )


def _counts(status: QueueStatus) -> tuple[int, ...]:
    counts = status.counts
    return (counts.waiting, counts.active, counts.completed, counts.failed, counts.delayed, counts.paused)


class AttemptWire(Wire):
    number: int
    outcome: str
    error: str
    traceback: str
    started: int | None
    finished: int | None
    worker: str


class LogWire(Wire):
    at: int
    text: str


class JobWire(Wire):
    """One job. In lists `data`, `options`, `result`, `attempts` and `logs` are empty: ask for the one job."""

    job_id: str
    queue: str
    name: str
    data: Any
    options: dict[str, Any]
    progress: int
    step: str
    state: str
    priority: int
    attempts_made: int
    timestamp: int
    processed_on: int | None
    finished_on: int | None
    due: int | None
    failed_reason: str | None
    reason: str | None
    attempts: list[AttemptWire]
    logs: list[LogWire]
    result: Any

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            job_id=job.id,
            queue=job.queue,
            name=job.name,
            data=job.data,
            options=job.options,
            progress=job.progress,
            step=job.step,
            state=job.state.value,
            priority=job.priority,
            attempts_made=job.attempts_made,
            timestamp=job.timestamp,
            processed_on=job.processed_on,
            finished_on=job.finished_on,
            due=job.due,
            failed_reason=job.error or None,
            reason=job.reason or None,
            attempts=[_attempt(one) for one in job.attempts],
            logs=[LogWire(at=line.at, text=line.text) for line in job.logs],
            result=job.result,
        )


def _attempt(attempt: Attempt) -> AttemptWire:
    return AttemptWire.model_validate(attempt)


class JobsPage(Wire):
    """Jobs `start` to `end` (both included) of one state; `total` is how many there are."""

    queue: str
    status: str
    start: int
    end: int
    total: int
    jobs: list[JobWire]

    @classmethod
    def of(cls, operations: QueueOperations, queue: str, state: JobState, start: int, end: int) -> Self:
        found = operations.queue_jobs(queue, state, start, end)
        return cls(
            queue=queue,
            status=state.value,
            start=start,
            end=end,
            total=operations.count(queue, state),
            jobs=[JobWire.of(job) for job in found],
        )


class WorkerWire(Wire):
    id: str
    host: str
    pid: int
    queues: list[str]
    threads: int
    running: int
    started: int
    seen: int
    version: str


class EventWire(Wire):
    id: str
    at: int
    queue: str
    kind: str
    job_id: str
    detail: str


class SpreadWire(Wire):
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class JobMetricsWire(Wire):
    name: str
    completed: int
    failed: int
    excluded: int
    retried: int
    duration: SpreadWire
    wait: SpreadWire


class MinuteMetricsWire(Wire):
    at: int
    completed: int
    failed: int
    excluded: int
    retried: int
    busy: int


class QueueMetricsWire(Wire):
    timestamp: int
    queue: str
    jobs: list[JobMetricsWire]
    minutes: list[MinuteMetricsWire]


def workers_json(workers: Iterable[WorkerInfo]) -> list[dict[str, Any]]:
    return [WorkerWire.model_validate(worker).model_dump(by_alias=True) for worker in workers]


def events_json(events: Iterable[QueueEvent]) -> list[dict[str, Any]]:
    return [EventWire.model_validate(event).model_dump(by_alias=True) for event in events]


def metrics_json(metrics: QueueMetrics) -> dict[str, Any]:
    return QueueMetricsWire.model_validate(metrics).model_dump(by_alias=True)

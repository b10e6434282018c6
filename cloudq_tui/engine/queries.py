"""QueueReader: everything that is looked at. Never mutates; lists carry no payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudq_tui.models.event import AuditEntry, QueueEvent
    from cloudq_tui.models.job import Job, JobState
    from cloudq_tui.models.queue import Preview, QueueStatus, Snapshot
    from cloudq_tui.models.worker import WorkerInfo


class QueueReader:
    def snapshot(self, queues: Sequence[str], *, active_limit: int = 50) -> Snapshot:
        """One round trip, whatever the number of jobs. QueueView.alerts are left empty (services fill them)."""
    def status(self, queues: Sequence[str]) -> list[QueueStatus]: ...
    def page(self, queue: str, state: JobState, start: int, end: int) -> list[Job]:
        """Both ends included; waiting in claim order, delayed by due time, active by start, finished newest first."""
    def job(self, queue: str, job_id: str, *, payload_limit: int = 65536) -> Job:
        """The one job, whole. Raises JobNotFound. A payload that cannot be decoded becomes its text."""
    def find(self, queues: Sequence[str], id_or_prefix: str) -> tuple[str, str]:
        """(queue, id). Exact id in one call; else by prefix in bounded scans. JobNotFound / AmbiguousId."""
    def preview(self, queue: str, states: Sequence[JobState], *, before: int | None = None, sample: int = 200) -> Preview: ...
    def events(self, queue: str, limit: int = 100) -> list[QueueEvent]: ...
    def audit(self, limit: int = 100) -> list[AuditEntry]: ...
    def workers(self) -> list[WorkerInfo]: ...
    def known_queues(self) -> list[str]:
        """Queues that ever had a job, by name."""
    def catalog(self) -> dict[tuple[str, str], dict[str, object]]:
        """(queue, job name) -> {"schema", "retries", "backoff", "limiter"} as workers published it."""

"""The looking half of the operations: what a person or a program may see of queues and jobs. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import Invalid, JobNotFound, QueueNotFound, ScriptRefused
from cloudq_tui.models.event import Actor, AuditEntry, QueueEvent
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.metrics import QueueMetrics
from cloudq_tui.models.queue import Preview, QueueStatus, QueueView, Snapshot
from cloudq_tui.models.worker import WorkerInfo
from cloudq_tui.services.alerts import queue_alerts
from cloudq_tui.services.catalog import Catalog
from cloudq_tui.services.checks import (
    check_grace,
    check_number,
    check_text,
    checked_state,
    cleanable_state,
    finished_state,
)
from cloudq_tui.services.masking import mask_job, mask_text
from cloudq_tui.settings import MAINTENANCE, Settings

_KNOWN_FOR = 5.0  # seconds for which the list of queues without settings is believed
_BACKLOG = (JobState.WAITING, JobState.DELAYED, JobState.PAUSED)
UNDO_MS = 10 * 60 * 1000


class QueueViews:
    """What one actor can see. `mask` False shows payloads, results and errors as they are stored."""

    def __init__(
        self,
        engine: QueueEngine,
        reader: QueueReader,
        settings: Settings,
        *,
        actor: Actor,
        catalog: Catalog,
        mask: bool,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self.settings = settings
        self.actor = actor
        self._catalog = catalog
        self._mask = mask
        self._known: tuple[float, tuple[str, ...]] = (float("-inf"), ())

    def queue_names(self) -> list[str]:
        """The configured queues in their order, then any other that was ever used; internal ones left out."""
        return [name for name in self._all_queues() if not self._is_internal(name)]

    def snapshot(self) -> Snapshot:
        """Everything the overview shows, with the alerts that hold now; one round trip."""
        seen = self._reader.snapshot(self.queue_names())
        self._known = (time.monotonic(), seen.known)
        return replace(seen, queues=tuple(self._view(view, seen.timestamp) for view in seen.queues))

    def all_queues_status(self) -> list[QueueStatus]:
        """The counts of every queue."""
        return self._reader.status(self.queue_names())

    def queue_jobs(self, queue: str, state: JobState | str, start: int = 0, end: int = 19) -> list[Job]:
        """Jobs of one state without payloads, both ends included. Raises Invalid for a wrong state or range."""
        self._check_queue(queue)
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end < 2**63):
            wanted = "start and end must be whole numbers, 0 <= start <= end, both included"
            raise Invalid(f"{wanted}; got {start!r} to {end!r}")
        return [self._seen(job) for job in self._reader.page(queue, checked_state(state), start, end)]

    def count(self, queue: str, state: JobState | str) -> int:
        """How many jobs of one state the queue keeps now."""
        self._check_queue(queue)
        (status,) = self._reader.status([queue])
        if status.problem:
            raise ScriptRefused(f"queue {queue}: {status.problem}")
        return int(getattr(status.counts, checked_state(state).value))

    def job(self, queue: str, job_id: str) -> Job:
        """The one job, whole. Raises JobNotFound."""
        self._check_queue(queue)
        check_text(job_id)
        return self._seen(self._reader.job(queue, job_id))

    def find_job(self, id_or_prefix: str, *, queue: str | None = None) -> Job:
        """The job of that id, or the only one whose id begins so, in one queue or any.

        Raises JobNotFound, AmbiguousId.
        """
        if queue is not None:
            self._check_queue(queue)
        check_text(id_or_prefix)
        if not id_or_prefix:
            raise JobNotFound("an empty id fits every job; give at least its first characters")
        where, job_id = self._reader.find(self._all_queues() if queue is None else [queue], id_or_prefix)
        return self._seen(self._reader.job(where, job_id))

    def preview_retry(self, queue: str, state: JobState | str = JobState.FAILED) -> Preview:
        """What retry_all would touch."""
        return self._preview(queue, [finished_state(state)])

    def preview_empty(self, queue: str) -> Preview:
        """What empty_queue would remove."""
        return self._preview(queue, _BACKLOG)

    def preview_clean(self, queue: str, grace: int, state: JobState | str) -> Preview:
        """What clean_queue would remove; `grace` in ms."""
        check_grace(grace)
        return self._preview(queue, [cleanable_state(state)], before=self._engine.now() - grace)

    def workers(self) -> list[WorkerInfo]:
        """The live worker processes."""
        return self._reader.workers()

    def events(self, queue: str, limit: int = 100) -> list[QueueEvent]:
        """The newest events of a queue, newest first."""
        self._check_queue(queue)
        check_number(limit, "limit", 1)
        found = self._reader.events(queue, limit)
        return [replace(event, detail=mask_text(event.detail)) for event in found] if self._mask else found

    def metrics(self, queue: str) -> QueueMetrics:
        """What a queue did: by job name, counts by outcome and how long its jobs waited and ran (ms); and each
        minute of the last 24 h."""
        self._check_queue(queue)
        return self._reader.metrics(queue)

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """What people did, newest first."""
        check_number(limit, "limit", 1)
        return self._reader.audit(limit)

    def last_undoable(self) -> AuditEntry | None:
        """This actor's newest act of the last ten minutes that `undo` can still take back."""
        entries = self._reader.audit(200)
        undone = {entry.detail for entry in entries if entry.action == "undo"}
        since = self._engine.now() - UNDO_MS
        mine = (entry for entry in entries if entry.act and entry.at >= since and entry.actor.name == self.actor.name)
        return next((entry for entry in mine if entry.act not in undone), None)

    # --- inner ---

    def _all_queues(self) -> list[str]:
        return list(dict.fromkeys((*self.settings.queues, *sorted(self._catalog.queues()), *self._used())))

    def _used(self, *, fresh: bool = False) -> tuple[str, ...]:
        # Asked at most every few seconds, so that a snapshot stays one round trip.
        read_at, names = self._known
        if fresh or time.monotonic() - read_at > _KNOWN_FOR:
            names = tuple(self._reader.known_queues())
            self._known = (time.monotonic(), names)
        return names

    def _is_internal(self, name: str) -> bool:
        own = self.settings.queues.get(name)
        return name == MAINTENANCE if own is None else own.internal

    def _check_queue(self, queue: str) -> None:
        check_text(queue)
        if queue in self.settings.queues or queue in self._catalog.queues() or queue in self._known[1]:
            return
        if queue not in self._used(fresh=True):
            raise QueueNotFound(f"no queue {queue!r}; there are {', '.join(self.queue_names()) or 'none'}")

    def _view(self, view: QueueView, now: int) -> QueueView:
        own = self.settings.queues.get(view.name)
        alerts = queue_alerts(view, self.settings, now=now)
        return replace(view, alerts=alerts, concurrency=own.concurrency if own else 0)

    def _seen(self, job: Job) -> Job:
        return mask_job(job) if self._mask else job

    def _preview(self, queue: str, states: Sequence[JobState], *, before: int | None = None) -> Preview:
        self._check_queue(queue)
        found = self._reader.preview(queue, states, before=before)
        if not self._mask:
            return found
        return replace(found, errors=tuple((mask_text(text), count) for text, count in found.errors))

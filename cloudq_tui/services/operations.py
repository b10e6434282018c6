"""QueueOperations: the one door to everything an operator or a producer can see or do.

The dashboard, the REST API, the command line and the platform's QueueService all come through here, so that a
retry is the same retry with the same audit entry whichever key was pressed. Holds the rules that are not Redis':
which queues there are, who may write, what a reader may see. Thread-safe; knows no Redis command.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import NewJob
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import (
    Conflict,
    InvalidOptions,
    JobNotFound,
    QueueUnavailable,
    ReadOnly,
)
from cloudq_tui.models.event import Actor, AuditEntry
from cloudq_tui.models.job import Job, JobOptions, JobState
from cloudq_tui.models.queue import BulkResult
from cloudq_tui.services.admission import as_job, draft
from cloudq_tui.services.catalog import Catalog, JobDefinition
from cloudq_tui.services.checks import (
    check_grace,
    check_text,
    checked_options,
    cleanable_state,
    finished_state,
    milliseconds,
)
from cloudq_tui.services.doctor import Doctor, Report
from cloudq_tui.services.masking import mask_text
from cloudq_tui.services.views import QueueViews
from cloudq_tui.settings import Settings

log = logging.getLogger(__name__)

OnProgress = Callable[[BulkResult], bool | None]
"""Told the sums after each bounded step of a bulk verb; returns False to stop where it is."""

DAY_MS = 24 * 3600 * 1000


class QueueOperations(QueueViews):
    """Everything one actor can see and do. `mask` False shows payloads, results and errors as they are stored.

    Every method raises QueueUnavailable when Redis cannot be used and QueueNotFound for a queue that is neither
    configured nor was ever used; what writes raises ReadOnly when `read_only`.
    """

    def __init__(
        self,
        engine: QueueEngine,
        reader: QueueReader,
        settings: Settings,
        *,
        actor: Actor,
        read_only: bool = False,
        definitions: Iterable[JobDefinition] = (),
        mask: bool = True,
    ) -> None:
        super().__init__(engine, reader, settings, actor=actor, catalog=Catalog(definitions), mask=mask)
        self.read_only = read_only

    # --- producing -----------------------------------------------------------------------------------------

    def enqueue(self, queue: str, name: str, data: Any, options: JobOptions | None = None) -> Job:
        """Check and queue one job. An id given in the options that was used before is the same job, returned as
        it is now.

        Raises InvalidPayload, NoProcessor, QueueFull; then nothing was queued.
        """
        [job] = self._enqueue_each(queue, name, [(data, checked_options(options))])
        return job

    def enqueue_many(self, queue: str, name: str, items: Sequence[Any], options: JobOptions | None = None) -> list[Job]:
        """Check all, then queue all in few round trips. Raises as `enqueue`, and InvalidOptions for a job id."""
        options = checked_options(options)
        if options.job_id is not None and len(items) > 1:
            raise InvalidOptions("options.jobId: one id cannot name several jobs; enqueue them one by one")
        return self._enqueue_each(queue, name, [(data, options) for data in items])

    # --- acting; each is refused by ReadOnly when read_only, and leaves an audit entry -------------------------

    def retry_job(self, queue: str, job_id: str) -> None:
        """failed / completed -> waiting. Raises JobNotFound, or Conflict in any other state."""
        self._begin("retry", queue, job_id)
        self._engine.retry(queue, job_id)
        self._note("retry", queue, 1, job_id)

    def remove_job(self, queue: str, job_id: str, *, undoable: bool = True) -> None:
        """Any state but active -> gone. Raises JobNotFound, or Conflict while it is active.

        Here and in the bulk verbs an `undoable` act can be taken back for ten minutes; until then its jobs keep
        their memory.
        """
        self._begin("remove", queue, job_id)
        act = _new_act(undoable)
        self._engine.remove(queue, job_id, act=act)
        self._note("remove", queue, 1, job_id, act=act)

    def promote_job(self, queue: str, job_id: str) -> None:
        """delayed -> waiting. Raises JobNotFound, or Conflict in any other state."""
        self._begin("promote", queue, job_id)
        self._engine.promote(queue, job_id)
        self._note("promote", queue, 1, job_id)

    def reschedule_job(self, queue: str, job_id: str, delay: timedelta | float) -> None:
        """delayed -> due in `delay` (seconds or timedelta). Raises JobNotFound, or Conflict in any other state."""
        self._begin("reschedule", queue, job_id)
        wait = milliseconds(delay, "delay")
        self._engine.reschedule(queue, job_id, wait)
        self._note("reschedule", queue, 1, f"{job_id} in {wait} ms")

    def cancel_job(self, queue: str, job_id: str) -> JobState:
        """The state the job had: waiting and delayed jobs fail at once, an active one is told.

        Raises JobNotFound, or Conflict when it has finished.
        """
        self._begin("cancel", queue, job_id)
        state = self._engine.cancel(queue, job_id, self._who())
        self._note("cancel", queue, 1, job_id)
        return state

    def pause_queue(self, queue: str, why: str = "", duration: timedelta | float | None = None) -> None:
        """Give no more jobs until resumed, or for `duration` (seconds or timedelta); active jobs go on."""
        self._begin("pause", queue, why)
        span = None if duration is None else milliseconds(duration, "duration")
        self._engine.pause(queue, by=self._who(), why=why, duration=span)
        self._note("pause", queue, 0, why if span is None else f"for {span} ms {why}".rstrip())

    def resume_queue(self, queue: str) -> bool:
        """Give jobs again; False when it was not paused."""
        self._begin("resume", queue)
        resumed = self._engine.resume(queue)
        self._note("resume", queue, 0, "" if resumed else "was not paused")
        return resumed

    def retry_all(
        self,
        queue: str,
        on_progress: OnProgress | None = None,
        *,
        state: JobState | str = JobState.FAILED,
        name: str = "",
        error: str = "",
        undoable: bool = True,
    ) -> BulkResult:
        """Retry what has failed by now: of job `name` exactly and with `error` in its error line, where given."""
        self._begin("retry all", queue, name, error)
        which, cutoff = finished_state(state), self._engine.now()
        return self._bulk(
            "retry all",
            queue,
            lambda offset, act: self._engine.retry_all(
                queue, which, cutoff=cutoff, name=name, error=error, offset=offset, act=act
            ),
            on_progress,
            undoable,
            " ".join(part for part in (which.value, name, mask_text(error)) if part),
        )

    def empty_queue(self, queue: str, on_progress: OnProgress | None = None, *, undoable: bool = True) -> BulkResult:
        """Remove the jobs that wait or are delayed now. A pause stays, active jobs go on."""
        self._begin("empty", queue)
        cutoff = self._engine.now()
        return self._bulk(
            "empty",
            queue,
            lambda offset, act: self._engine.empty(queue, cutoff=cutoff, offset=offset, act=act),
            on_progress,
            undoable,
            look_again=True,
        )

    def clean_queue(
        self,
        queue: str,
        grace: int = DAY_MS,
        state: JobState | str = "completed",
        on_progress: OnProgress | None = None,
        *,
        undoable: bool = True,
    ) -> BulkResult:
        """Remove the jobs of one state older than `grace` ms. Raises Invalid for active ones: cancel those."""
        self._begin("clean", queue)
        check_grace(grace)
        which, before = cleanable_state(state), self._engine.now() - grace
        if which in (JobState.WAITING, JobState.PAUSED) and not self.count(queue, which):
            return BulkResult()  # stored in one place, but what is asked for is not what lies there
        return self._bulk(
            "clean",
            queue,
            lambda offset, act: self._engine.clean(queue, which, before=before, offset=offset, act=act),
            on_progress,
            undoable,
            f"{which.value} older than {grace} ms",
            look_again=True,
        )

    def undo(self, on_progress: OnProgress | None = None) -> tuple[AuditEntry, BulkResult]:
        """Take back `last_undoable`: its jobs stand again where they stood, in state, order and score.

        Skipped are ids added again meanwhile and retried jobs claimed since. Raises Conflict when there is none.
        """
        self._check_writable("undo")
        entry = self.last_undoable()
        if entry is None:
            raise Conflict("nothing to undo: no removal, empty, clean or retry of yours in the last ten minutes")
        result = self._bulk(
            "undo",
            entry.queue,
            lambda _, __: self._engine.undo(entry.queue, entry.act),
            on_progress,
            False,
            entry.act,
        )
        return entry, result

    def examine(self, *, repair: bool = False) -> Report:
        """Whether Redis, the queues' data and the workers are sound; with `repair`, what can be mended is mended.

        Raises ReadOnly for a repair; an unreachable Redis is a finding.
        """
        if repair:
            self._check_writable("doctor --repair")
        doctor = Doctor(self._engine, self._reader, self.settings)
        try:
            return doctor.examine(self._all_queues, repair=repair)
        finally:
            for queue, count, detail in doctor.repairs():
                self._note("repair", queue, count, detail)

    # --- inner ---------------------------------------------------------------------------------------------

    def _check_writable(self, action: str) -> None:
        if self.read_only:
            raise ReadOnly(f"{action} was refused: this session is read-only")

    def _who(self) -> str:
        return f"{self.actor.name}@{self.actor.client}" if self.actor.client else self.actor.name

    def _begin(self, action: str, queue: str, *texts: str) -> None:
        """`texts` is what else was given in words."""
        self._check_writable(action)
        self._check_queue(queue)
        check_text(*texts)

    def _enqueue_each(self, queue: str, name: str, items: Sequence[tuple[Any, JobOptions]]) -> list[Job]:
        """Check all, then queue all, each payload with its own options."""
        self._begin("enqueue", queue, name)
        drafts = self._drafts(queue, name, items)
        added = self._engine.add_many(new for new, _ in drafts)
        jobs = []
        for (_, options), (new, checked), fresh in zip(items, drafts, added, strict=True):
            # Not fresh under an id made here: the answer to the first try was lost, and it is there.
            job = as_job(new, checked, options)
            jobs.append(self._accepted_before(job) if new.unique and not fresh else job)
        return jobs

    def _accepted_before(self, job: Job) -> Job:
        """What the id of `job` has been since it was used first."""
        try:
            return self._seen(self._reader.job(job.queue, job.id))
        except JobNotFound:
            return replace(job, state=JobState.COMPLETED, due=None, reason="accepted before, its record is gone")

    def _drafts(self, queue: str, name: str, items: Sequence[tuple[Any, JobOptions]]) -> list[tuple[NewJob, Any]]:
        definition = self._catalog.own(queue, name)
        published: Mapping[str, Any] | None = None
        if definition is None:
            published = self._catalog.published(queue, name, self._reader.catalog())
        settings = self.settings.queues.get(queue)
        drafts = []
        for data, options in items:
            checked = data if definition is None else definition.check(data)
            new = draft(
                queue,
                name,
                checked,
                options,
                definition=definition,
                settings=settings,
                published=published,
                max_payload=self.settings.max_payload,
            )
            drafts.append((new, checked))
        return drafts

    def _bulk(
        self,
        action: str,
        queue: str,
        step: Callable[[int, str], BulkResult],
        on_progress: OnProgress | None,
        undoable: bool,
        detail: str = "",
        *,
        look_again: bool = False,
    ) -> BulkResult:
        """Repeat a bounded step until nothing is left, nothing moves, or the person stops it.

        `look_again`: what was skipped may go meanwhile, and others then stand where it has been looked already; so
        it begins anew until there is nothing more to move.
        """
        total, act, whole, before = BulkResult(), _new_act(undoable), False, 0
        try:
            while not whole:
                done = step(total.skipped, act)
                total = BulkResult(total.moved + done.moved, total.skipped + done.skipped, done.remaining)
                whole = done.remaining <= 0 or (done.moved == 0 and done.skipped == 0)
                if whole and look_again and total.skipped and total.moved > before:
                    total, whole, before = replace(total, skipped=0), False, total.moved
                if on_progress is not None and on_progress(total) is False:
                    break
        finally:
            # Also what was done before Redis went away, or the person's connection did, is somebody's act. What was
            # done in part says so; an undo in part can be gone on with.
            said = detail if whole else f"{detail} in part".lstrip()
            self._note(action, queue, total.moved, said, act=act if total.moved else "")
        return total

    def _note(self, action: str, queue: str, count: int, detail: str = "", *, act: str = "") -> None:
        try:
            self._engine.audit(self.actor, action, queue, count, detail, act=act)
        except QueueUnavailable as error:
            # The act itself is done: to report it as failed would invite a second one.
            log.warning("no audit entry for %s on %s by %s: %s", action, queue, self.actor.name, error)


def _new_act(undoable: bool) -> str:
    return uuid.uuid4().hex if undoable else ""

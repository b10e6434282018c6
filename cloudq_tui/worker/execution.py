"""Huey's `dequeue` and `execute` on leased jobs: one fenced finish for everything a run leaves behind.

Huey's own `execute` does the work. Where it asks or writes, the JobRun in charge answers, so that signals, hooks,
pipelines, chords and retries stay exactly Huey's.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from huey import signals as S  # noqa: N812 - as Huey itself calls it
from huey.api import Huey, Task

from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.records import ClaimedJob, FailureKind, Finish, Lease, NewJob, Outcome, QueueClaim, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import QueueUnavailable, UnreadableJob
from cloudq_tui.worker import messages
from cloudq_tui.worker.context import RunningJob
from cloudq_tui.worker.leases import HeldLease, LeaseKeeper
from cloudq_tui.worker.runs import JobRun, attempt_record, in_huey_words
from cloudq_tui.worker.tasks import CloudqTask

logger = logging.getLogger("cloudq.worker")

_UNKNOWN_DELAY = 5_000  # ms until a job that this worker cannot run is offered again
_UNKNOWN_PATIENCE = 600_000  # ms until it fails


class ExecutingHuey(Huey):  # type: ignore[misc]
    """The half of CloudqHuey that runs jobs; the other half says where they come from."""

    engine: QueueEngine
    kv: KeyValueStore
    leases: LeaseKeeper
    local: threading.local
    blocking: bool
    read_timeout: float
    max_payload: int

    def served(self) -> tuple[str, ...]:
        raise NotImplementedError

    def limits(self, queue: str) -> tuple[int, int, int]:
        raise NotImplementedError

    def retention(self, finishes: Iterable[Finish]) -> dict[str, Retention]:
        raise NotImplementedError

    def new_job(self, task: CloudqTask) -> NewJob:
        raise NotImplementedError

    # --- one job at a time, for any consumer ---

    def dequeue(self) -> Task | None:
        if self._immediate:
            return super().dequeue()
        deadline = time.monotonic() + (self.read_timeout if self.blocking else 0)
        while True:
            claimed = self.engine.claim(
                [QueueClaim(queue, 1, *self.limits(queue)) for queue in self.served()],
                worker=f"{self.leases.worker}:{threading.get_ident():x}",
                request=self.leases.request(),
                lease=self.leases.options.lease_ms,
                limit=1,
                space=self.name,
            )
            for claim in claimed.jobs:
                task = self.open(claim)
                if isinstance(task, CloudqTask):
                    held = self.leases.hold(lease_of(claim))
                    # A task that is dropped without being run must not be renewed for ever.
                    weakref.finalize(task, self.leases.drop, held.lease).atexit = False
                    task.held = held
                    return task
                self._deliver(task)
            left = deadline - time.monotonic()
            if left <= 0 and not claimed.jobs:
                return None
            if not claimed.jobs:
                self.engine.wait(self.served(), min(left, (claimed.next_due or 1000) / 1000 + 0.001))

    def open(self, claim: ClaimedJob) -> CloudqTask | Finish:
        """The task of a claim; or how it ends when there is none."""
        try:
            return messages.read_task(self, claim)
        except QueueUnavailable:
            raise
        except messages.UnknownTask as error:
            return self._unknown(claim, str(error))
        except Exception as error:  # noqa: BLE001 - whatever the data does, the job must end with the reason
            logger.warning("job %s in %s cannot be read: %s", claim.id, claim.queue, error)
            unreadable = UnreadableJob(str(error)) if not isinstance(error, UnreadableJob) else error
            return unrunnable(claim, unreadable, self.leases.worker)

    def _unknown(self, claim: ClaimedJob, reason: str) -> Finish:
        """Another worker may know the task: offered again every 5 s, failed after 10 minutes."""
        key = f"unknown:{claim.id}"
        self.kv.put_if_empty(key, str(claim.processed_on).encode(), _UNKNOWN_PATIENCE + 60_000)
        since = int(self.kv.peek([key])[0] or claim.processed_on)
        if claim.processed_on - since >= _UNKNOWN_PATIENCE:
            return unrunnable(claim, UnreadableJob(reason), self.leases.worker)
        logger.warning("job %s waits for another worker: %s", claim.id, reason)
        return Finish(
            claim.queue, claim.id, claim.token, Outcome.RELEASE, delay=_UNKNOWN_DELAY, error="no such task here"
        )

    def execute(self, task: Any, timestamp: dt.datetime | None = None) -> Any:
        claim = getattr(task, "claim", None)
        if claim is None or self._immediate:
            return super().execute(task, timestamp)
        run = self.run(task, claim, task.held, trust_claim=False, timestamp=timestamp)
        task.claim = None
        self._deliver(run.finish())
        self.leases.drop(task.held.lease)
        self.finished(run)
        return run.value

    def run(
        self,
        task: CloudqTask,
        claim: ClaimedJob,
        held: HeldLease,
        *,
        trust_claim: bool = True,
        timestamp: Any = None,
    ) -> JobRun:
        """Run a claimed job; how it ended is in the JobRun, nothing was told to the engine yet."""
        job = RunningJob(self.engine, claim, held)
        held.job, held.started = job, True
        task._job = job  # noqa: SLF001 - the task's own slot for it
        run = JobRun(self, task, claim, trust_claim=trust_claim)
        run.execute(timestamp)
        return run

    def finished(self, run: JobRun) -> None:
        """After a run's finish was accepted: what need not be in it."""
        for member in run.chords:
            # Who completed the set is known to Redis alone; of those who see it whole, one tells.
            whole = len(self.kv.chord_results(member.chord)) == member.size
            if whole and self.kv.increment(f"chord:{member.chord}") == 1:
                super()._emit(S.SIGNAL_ENQUEUED, run.callbacks[member.chord])
        if run.task.chord_results is not None and run.exception is None and run.signal == "":
            self.kv.chord_results(run.task.chord_results, remove=True)
            self.kv.delete_counter(f"chord:{run.task.chord_results}")

    def _deliver(self, finish: Finish) -> None:
        """Finish one job now; while Redis is away, again and again until the lease must have run out."""
        deadline = time.monotonic() + self.leases.options.lease
        pause = 0.1
        while True:
            try:
                (held,), _ = self.engine.finish([finish], retention=self.retention([finish]), space=self.name)
                break
            except QueueUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(2.0, pause * 2)
        if not held:
            logger.warning("job %s in %s had lost its lease; its end was not counted", finish.id, finish.queue)

    # --- what Huey's own execute asks on its way; a run in charge answers instead ---

    def current_run(self) -> JobRun | None:
        run: JobRun | None = getattr(self.local, "run", None)
        return run

    def _run_of(self, task: Any) -> JobRun | None:
        run: JobRun | None = getattr(self.local, "run", None)
        return run if run is not None and run.task is task else None

    def _emit(self, signal: str, task: Any, *args: Any, **kwargs: Any) -> None:
        run = self._run_of(task)
        if run is not None:
            run.note(signal, *args)
        super()._emit(signal, task, *args, **kwargs)

    def ready_to_run(self, task: Any, timestamp: Any = None) -> bool:
        return self._run_of(task) is not None or bool(super().ready_to_run(task, timestamp))

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        run = self._run_of(task)
        if run is None or not run.trust_claim:
            return bool(super().is_revoked(task, timestamp, peek))
        if run.claim.revoked is None and run.claim.name_revoked is None:
            return False
        for key, data in zip(self._revoke_keys(task), (run.claim.revoked, run.claim.name_revoked), strict=True):
            if data is not None:
                revoked, restore = self._check_revoked(data, timestamp, peek)
                if restore:
                    run.write(key, None)
                if revoked:
                    return True
        return False

    def _timeout_context(self, task: Any) -> Any:
        timeout = super()._timeout_context(task) if task.timeout else None
        return _Processing(timeout, task, self._run_of(task))

    def _run_post_execute(self, task: Any, task_value: Any, exception: BaseException | None) -> None:
        run = self._run_of(task)
        if run is not None:
            run.exception = exception
        super()._run_post_execute(task, task_value, exception)

    def _requeue_task(self, task: Any, timestamp: Any, retry_eta: Any = None) -> None:
        run = self._run_of(task)
        if run is None:
            super()._requeue_task(task, timestamp, retry_eta)
        else:
            run.requeue(retry_eta)
            super()._emit(S.SIGNAL_SCHEDULED if run.retry else S.SIGNAL_ENQUEUED, task)

    def _check_chord(self, cc: Any, value: Any) -> None:
        run = self.current_run()
        if run is None:
            super()._check_chord(cc, value)
        else:
            run.member(cc, value)


class _Processing:
    """While the processor itself runs, under Huey's timeout; after it the run gathers what is written."""

    __slots__ = ("_run", "_task", "_timeout")

    def __init__(self, timeout: Any, task: CloudqTask, run: JobRun | None) -> None:
        self._timeout = timeout
        self._task = task
        self._run = run

    def __enter__(self) -> None:
        if self._run is not None:
            self._task.job.start_clock(self._task.timeout)  # type: ignore[attr-defined]
        if self._timeout is not None:
            self._timeout.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._timeout is not None:
                self._timeout.__exit__(kind, error, trace)
        finally:
            if self._run is not None:
                self._run.gathering = True
        spoken = in_huey_words(error)
        if spoken is not None:
            raise spoken from error


def lease_of(claim: ClaimedJob) -> Lease:
    return Lease(claim.queue, claim.id, claim.token)


def unrunnable(claim: ClaimedJob, error: UnreadableJob, worker: str) -> Finish:
    """The end of a job that cannot even start."""
    return Finish(
        claim.queue,
        claim.id,
        claim.token,
        Outcome.FAILED,
        kind=FailureKind.UNREADABLE,
        error=str(error),
        detail=attempt_record(claim, FailureKind.UNREADABLE.value, str(error), worker),
    )

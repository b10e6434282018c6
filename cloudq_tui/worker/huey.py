"""CloudqHuey: Huey's own API, on the queue engine.

Producers enqueue, a consumer claims and finishes. `dequeue` and `execute` work for any consumer, one job at a time;
our own (consumer.py) shares its calls among its threads. May not import redis, a front end or the operations.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from huey import signals as S  # noqa: N812 - as Huey itself calls it
from huey.api import Huey, Result, ResultGroup, Task, chord, group
from huey.exceptions import ConfigurationError
from huey.storage import BaseStorage
from pydantic import BaseModel

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.records import (
    CatalogEntry,
    ClaimedJob,
    FailureKind,
    Finish,
    Lease,
    NewJob,
    Outcome,
    QueueClaim,
    Renewal,
)
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import QueueUnavailable, UnreadableJob
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import Backoff, JobPriority, JobState
from cloudq_tui.worker import messages
from cloudq_tui.worker.address import url_of
from cloudq_tui.worker.context import RunningJob
from cloudq_tui.worker.leases import HeldLease, LeaseKeeper
from cloudq_tui.worker.options import LeaseOptions, QueueOptions
from cloudq_tui.worker.runs import JobRun, attempt_record, in_huey_words
from cloudq_tui.worker.serializer import checked
from cloudq_tui.worker.storage import CloudqStorage
from cloudq_tui.worker.tasks import (
    CloudqRegistry,
    CloudqTask,
    CloudqTaskWrapper,
    ProcessorWrapper,
    milliseconds_until,
    register_processor,
)

logger = logging.getLogger("cloudq.worker")

_UNKNOWN_DELAY = 5_000  # ms until a job that this worker cannot run is offered again
_UNKNOWN_PATIENCE = 600_000  # ms until it fails
RESULT_TTL = 24 * 3600 * 1000


class CloudqHuey(Huey):  # type: ignore[misc]
    """Huey on Bull's queue semantics.

    Takes Huey's keyword arguments (name, results, store_none, utc, immediate, ...) and where Redis is: `url`, or
    host, port, db, username, password; or an `engine` made elsewhere. `serve_queues` bounds what a consumer of this
    instance claims and schedules; `queue_options` holds each queue's concurrency, limiter and retention.
    `timezone` drives crontab (without it: UTC, or local time with utc=False). `result_ttl` in ms.
    """

    def __init__(
        self,
        name: str = "huey",
        url: str | None = None,
        *,
        engine: QueueEngine | None = None,
        prefix: str = "cloudq",
        serve_queues: Sequence[str] | None = None,
        queue_options: Mapping[str, QueueOptions] | None = None,
        lease_options: LeaseOptions | None = None,
        timezone: dt.tzinfo | None = None,
        result_ttl: int = RESULT_TTL,
        serializer: Any = None,
        compression: bool = False,
        use_zlib: bool = False,
        blocking: bool = True,
        read_timeout: float = 1.0,
        **huey_kwargs: Any,
    ) -> None:
        if huey_kwargs.get("storage_class") is not None:
            raise ConfigurationError("CloudqHuey has its own storage; leave storage_class= out")
        address, rest = url_of(url, huey_kwargs)
        self.engine = engine or QueueEngine(Connection.from_url(address), prefix=prefix)
        self.kv = KeyValueStore(self.engine.connection, prefix=self.engine.prefix, space=name)
        self.serve_queues = tuple(serve_queues) if serve_queues is not None else None
        self.queue_options = dict(queue_options or {})
        self.timezone = timezone
        self.result_ttl = result_ttl
        self.blocking = blocking
        self.read_timeout = read_timeout
        self.local = threading.local()
        self.leases = LeaseKeeper(self.engine, lease_options or LeaseOptions(), self.served, self.catalog)
        super().__init__(name, serializer=checked(serializer, compression, use_zlib), **rest)
        self._registry = CloudqRegistry()

    # --- Huey's factories ---

    def get_task_wrapper_class(self) -> type[CloudqTaskWrapper]:
        return CloudqTaskWrapper

    def get_storage(self, **kwargs: Any) -> BaseStorage:
        if kwargs:
            raise ConfigurationError(f"CloudqHuey does not know {', '.join(sorted(kwargs))}=")
        return CloudqStorage(
            self.name,
            self.engine,
            queues=self.queues,
            run=self.current_run,
            result_ttl=self.result_ttl,
            blocking=self.blocking,
        )

    def create_consumer(self, **options: Any) -> Any:
        from cloudq_tui.worker.consumer import CloudqConsumer  # noqa: PLC0415 - it imports this module

        return CloudqConsumer(self, **options)

    def register_processor(
        self,
        *,
        queue: str,
        name: str,
        func: Callable[[Any, JobContext], Any],
        model: type[BaseModel] | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: float | None = None,
        priority: int = JobPriority.NORMAL,
    ) -> ProcessorWrapper:
        """See tasks.register_processor."""
        return register_processor(
            self,
            queue=queue,
            name=name,
            func=func,
            model=model,
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            priority=priority,
        )

    def processor(
        self, queue: str, name: str, model: type[BaseModel] | None = None, **policy: Any
    ) -> Callable[[Callable[[Any, JobContext], Any]], ProcessorWrapper]:
        """`register_processor` as a decorator."""

        def decorate(func: Callable[[Any, JobContext], Any]) -> ProcessorWrapper:
            return self.register_processor(queue=queue, name=name, func=func, model=model, **policy)

        return decorate

    # --- queues ---

    def queues(self) -> tuple[str, ...]:
        """Every queue of this instance: its own name, and those its tasks name."""
        return tuple(dict.fromkeys((self.name, *self._registry.queues())))

    def served(self) -> tuple[str, ...]:
        """The queues a consumer of this instance claims from: those with a task here, within `serve_queues`."""
        known: tuple[str, ...] = self._registry.queues() or (self.name,)
        return known if self.serve_queues is None else tuple(queue for queue in known if queue in self.serve_queues)

    def options_of(self, queue: str) -> QueueOptions:
        return self.queue_options.get(queue) or _BARE

    def catalog(self) -> list[CatalogEntry]:
        """What this instance can run, for `engine.publish`."""
        served = self.served()
        return [
            _entry(task, self.options_of(task.queue)) for task in self._registry.classes() if task.queue in served
        ]

    # --- enqueueing ---

    def new_job(self, task: CloudqTask) -> NewJob:
        """The job that enqueueing `task` adds."""
        return messages.new_job(self, task, unique=getattr(task, "scheduled_minute", False))

    def enqueue(self, task: Any) -> Any:
        if isinstance(task, group | chord) or self._immediate:
            return super().enqueue(task)
        if task.expires:
            task.resolve_expires(self.utc)
        run = self.current_run()
        if run is not None and run.gathering:
            if run.task.on_error is not None and task.id == run.task.on_error.id:
                # Huey hands out one copy per failed attempt, all with one id; each is a job of its own here.
                task.id = task.create_id()
                task.revoke_id = f"r:{task.id}"
            self._emit(S.SIGNAL_ENQUEUED, task)
            run.follow_ups.append(self.new_job(task))
        else:
            self._emit(S.SIGNAL_ENQUEUED, task)
            job = self.new_job(task)
            self.engine.add(job)
            if job.delay:
                self._emit(S.SIGNAL_SCHEDULED, task)
        return self._handles(task)

    def enqueue_many(self, tasks: Iterable[Task]) -> ResultGroup | None:
        """Enqueue many tasks in few round trips; a ResultGroup in their order."""
        ready = list(tasks)
        if self._immediate:
            results = [self.enqueue(task) for task in ready]
            return ResultGroup(results) if self.results else None
        for task in ready:
            if task.expires:
                task.resolve_expires(self.utc)
            self._emit(S.SIGNAL_ENQUEUED, task)
        self.engine.add_many(self.new_job(task) for task in ready)
        return ResultGroup([self._handles(task) for task in ready]) if self.results else None

    def _handles(self, task: Task) -> Result | ResultGroup | None:
        if not self.results:
            return None
        results = self._pipeline_results(task)
        return ResultGroup(results) if len(results) > 1 else results[0]

    def add_schedule(self, task: CloudqTask) -> None:
        if self._immediate:
            super().add_schedule(task)
            return
        self.engine.add(self.new_job(task))
        self._emit(S.SIGNAL_SCHEDULED, task)

    def deserialize_task(self, data: bytes) -> Task:
        task = super().deserialize_task(data)
        task.args, task.kwargs = task.rebuild(task.args, task.kwargs)
        return task

    # --- looking ---

    def pending(self, limit: int | None = None) -> list[Task]:
        return self._stored(JobState.WAITING, limit) if not self._immediate else super().pending(limit)

    def scheduled(self, limit: int | None = None) -> list[Task]:
        return self._stored(JobState.DELAYED, limit) if not self._immediate else super().scheduled(limit)

    def _stored(self, state: JobState, limit: int | None) -> list[Task]:
        tasks = []
        for queue, call in self.storage.stored(state, limit):
            try:
                task = messages.read_stored(self, queue, call)
            except (UnreadableJob, messages.UnknownTask) as error:
                logger.warning("job %s in %s is left out: %s", call.id, queue, error)
            else:
                tasks.append(task)
        return tasks

    def read_periodic(self, timestamp: dt.datetime | None) -> list[Task]:
        """The periodic tasks of the served queues that are due. Asked without a time, by a scheduler, each bears
        the id of its name and minute, so that many consumers add it once."""
        served = self.served()
        now = self._crontab_time() if timestamp is None else timestamp
        due = [task for task in super().read_periodic(now) if task.queue in served]
        if timestamp is None:
            minute = int(time.time()) // 60
            for task in due:
                task.id = f"{task.name}@{minute}"
                task.revoke_id = f"r:{task.id}"
                task.scheduled_minute = True
        return due

    def _crontab_time(self) -> dt.datetime:
        if self.timezone is None:
            now: dt.datetime = self._get_timestamp()
            return now
        return dt.datetime.now(self.timezone).replace(tzinfo=None)

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
                    weakref.finalize(task, self.leases.drop, held.lease)
                    task.held = held
                    return task
                self._deliver(task)
            left = deadline - time.monotonic()
            if left <= 0 and not claimed.jobs:
                return None
            if not claimed.jobs:
                self.engine.wait(self.served(), min(left, (claimed.next_due or 1000) / 1000 + 0.001))

    def limits(self, queue: str) -> tuple[int, int, int]:
        """A queue's concurrency and limiter, as a claim names them."""
        options = self.options_of(queue)
        return (options.concurrency, *options.limiter)

    def open(self, claim: ClaimedJob) -> CloudqTask | Finish:
        """The task of a claim; or how it ends when there is none."""
        try:
            return messages.read_task(self, claim)
        except messages.UnknownTask as error:
            return self._unknown(claim, str(error))
        except Exception as error:
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

    def retention(self, finishes: Iterable[Finish]) -> dict[str, Any]:
        return {finish.queue: self.options_of(finish.queue).retention for finish in finishes}

    # --- what Huey's own execute asks on its way; a run in charge answers instead ---

    def current_run(self) -> JobRun | None:
        run: JobRun | None = getattr(self.local, "run", None)
        return run

    def _run_of(self, task: Any) -> JobRun | None:
        run = self.current_run()
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
        for key, data in zip(self._revoke_keys(task), (run.claim.revoked, run.claim.name_revoked), strict=True):
            if data is not None:
                revoked, restore = self._check_revoked(data, timestamp, peek)
                if restore:
                    run.write(key, None)
                if revoked:
                    return True
        return False

    def _timeout_context(self, task: Any) -> Any:
        return _Processing(super()._timeout_context(task), task, self._run_of(task))

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


_BARE = QueueOptions()


class _Processing:
    """The stretch in which the processor itself runs, under Huey's timeout; then the run gathers what is written."""

    def __init__(self, timeout: Any, task: CloudqTask, run: JobRun | None) -> None:
        self._timeout = timeout
        self._task = task
        self._run = run

    def __enter__(self) -> None:
        if self._run is not None:
            self._task.job.start_clock(self._task.timeout)  # type: ignore[attr-defined]
        self._timeout.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
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


def _entry(task: type[CloudqTask], options: QueueOptions) -> CatalogEntry:
    model = task.payload_model
    return CatalogEntry(
        queue=task.queue,
        name=task.__name__,
        schema="" if model is None else json.dumps(model.model_json_schema(by_alias=True)),
        retries=task.default_retries,
        backoff=task.backoff,
        limiter=options.limiter,
    )

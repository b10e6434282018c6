"""CloudqHuey: Huey's own API, on the queue engine.

Producers enqueue, a consumer claims and finishes. `dequeue` and `execute` work for any consumer, one job at a time;
our own (consumer.py) shares its calls among its threads. May not import redis, a front end or the operations.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from huey import signals as S  # noqa: N812 - as Huey itself calls it
from huey.api import Result, ResultGroup, Task, chord, group
from huey.exceptions import ConfigurationError
from huey.storage import BaseStorage
from pydantic import BaseModel

from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.deployment import engine_for
from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.records import CatalogEntry, Finish, NewJob, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import UnreadableJob
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import MAX_PAYLOAD, Backoff, JobPriority, JobState
from cloudq_tui.worker import messages
from cloudq_tui.worker.address import url_of
from cloudq_tui.worker.execution import ExecutingHuey
from cloudq_tui.worker.leases import LeaseKeeper
from cloudq_tui.worker.options import LeaseOptions, QueueOptions
from cloudq_tui.worker.serializer import checked
from cloudq_tui.worker.storage import CloudqStorage
from cloudq_tui.worker.tasks import (
    CloudqRegistry,
    CloudqTask,
    CloudqTaskWrapper,
    ProcessorWrapper,
    register_processor,
)

logger = logging.getLogger("cloudq.worker")

RESULT_TTL = 24 * 3600 * 1000


class CloudqHuey(ExecutingHuey):
    """Huey on Bull's queue semantics.

    Takes Huey's keyword arguments (name, results, store_none, utc, immediate, ...) and where Redis is: `url`, or
    host, port, db, username, password (with `cluster`, of any of its nodes); or an `engine` made elsewhere.
    `serve_queues` bounds what a consumer of this instance claims and schedules (without it CLOUDQ_QUEUES does);
    `queue_options` holds each queue's concurrency, limiter and retention. `timezone` drives crontab (without it: UTC,
    or local time with utc=False). `result_ttl` in ms; `max_payload`: bytes that a call may take.
    """

    def __init__(
        self,
        name: str = "huey",
        url: str | None = None,
        *,
        cluster: bool = False,
        engine: QueueEngine | None = None,
        prefix: str = "cloudq",
        serve_queues: Sequence[str] | None = None,
        queue_options: Mapping[str, QueueOptions] | None = None,
        lease_options: LeaseOptions | None = None,
        timezone: dt.tzinfo | None = None,
        result_ttl: int = RESULT_TTL,
        max_payload: int = MAX_PAYLOAD,
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
        self.engine = engine or engine_for(
            (ClusterConnection if cluster else Connection).from_url(address), prefix=prefix
        )
        self.kv = KeyValueStore(self.engine.connection, prefix=self.engine.prefix, space=name)
        self.serve_queues = _chosen(serve_queues)
        self.queue_options = dict(queue_options or {})
        self.timezone = timezone
        self.result_ttl = result_ttl
        self.max_payload = max_payload
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

    def task(self, *args: Any, **settings: Any) -> Callable[[Callable[..., Any]], CloudqTaskWrapper]:
        """Huey's, and `queue=`: the queue's name (without it, the instance's); `backoff=`: a models.job.Backoff."""
        decorate: Callable[[Callable[..., Any]], CloudqTaskWrapper] = super().task(*args, **settings)
        return decorate

    def periodic_task(
        self, validate_datetime: Callable[[dt.datetime], bool], *args: Any, **settings: Any
    ) -> Callable[[Callable[..., Any]], CloudqTaskWrapper]:
        """Huey's, with `queue=` as in `task`."""
        decorate: Callable[[Callable[..., Any]], CloudqTaskWrapper] = super().periodic_task(
            validate_datetime, *args, **settings
        )
        return decorate

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
        return [_entry(task, self.options_of(task.queue)) for task in self._registry.classes() if task.queue in served]

    def limits(self, queue: str) -> tuple[int, int, int]:
        """A queue's concurrency and limiter, as a claim names them."""
        options = self.options_of(queue)
        return (options.concurrency, *options.limiter)

    def retention(self, finishes: Iterable[Finish]) -> dict[str, Retention]:
        """What each of these finishes' queues keeps."""
        return {finish.queue: self.options_of(finish.queue).retention for finish in finishes}

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
        """Enqueue many tasks in few round trips; a ResultGroup in their order.

        Each is made and checked while Redis works on those before: to check all first would cost a third of the speed.
        The first that cannot be stored raises, and whole hundreds of those before it are queued.
        """
        if self._immediate:
            results = [self.enqueue(task) for task in tasks]
            return ResultGroup(results) if self.results else None
        ready: list[Any] = []
        scheduled: list[Any] = []

        def jobs() -> Iterator[NewJob]:
            for task in tasks:
                if task.expires:
                    task.resolve_expires(self.utc)
                self._emit(S.SIGNAL_ENQUEUED, task)
                job = self.new_job(task)
                ready.append(task)
                if job.delay:
                    scheduled.append(task)
                yield job

        self.engine.add_many(jobs())
        for task in scheduled:
            self._emit(S.SIGNAL_SCHEDULED, task)
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
        minute = int(time.time()) // 60  # read once: the time and the id are of the same minute
        now = self._crontab_time(minute) if timestamp is None else timestamp
        due = [task for task in super().read_periodic(now) if task.queue in served]
        if timestamp is None:
            for task in due:
                task.id = f"{task.name}@{minute}"
                task.revoke_id = f"r:{task.id}"
                task.scheduled_minute = True
        return due

    def _crontab_time(self, minute: int) -> dt.datetime:
        zone = self.timezone or (dt.UTC if self.utc else None)
        return dt.datetime.fromtimestamp(minute * 60, zone).replace(tzinfo=None)


_BARE = QueueOptions()


def _chosen(serve_queues: Sequence[str] | None) -> tuple[str, ...] | None:
    """The queues to serve: as given, else CLOUDQ_QUEUES, else (None) all."""
    if serve_queues is None:
        named = [queue.strip() for queue in os.environ.get("CLOUDQ_QUEUES", "").split(",") if queue.strip()]
        return tuple(named) or None
    return tuple(serve_queues)


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

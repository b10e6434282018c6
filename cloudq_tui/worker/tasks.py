"""The task classes: Huey's, with a queue of their own and the job's context; the registry; the processors."""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from huey.api import PeriodicTask, Task, TaskWrapper
from huey.exceptions import ConfigurationError
from huey.registry import Registry
from pydantic import BaseModel

from cloudq_tui.errors import InvalidOptions
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import MAX_RANK, MIN_RANK, Backoff, JobPriority, new_job_id
from cloudq_tui.worker.annotations import Rebuilder, validated
from cloudq_tui.worker.context import DetachedJob

if TYPE_CHECKING:
    from cloudq_tui.engine.records import ClaimedJob
    from cloudq_tui.worker.huey import CloudqHuey
    from cloudq_tui.worker.leases import HeldLease

RESERVED_QUEUES = frozenset({"test"})  # the REST API's own path
_QUEUE_NAME = re.compile(r"[\w.@-]{1,100}")


class CloudqTask(Task):  # type: ignore[misc]
    """A Huey task that knows its queue. While it runs, `job` is its context; `context=True` hands the task over."""

    queue: ClassVar[str]
    rebuild: ClassVar[Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]]
    backoff: ClassVar[str] = ""
    payload_model: ClassVar[type[BaseModel] | None] = None

    claim: ClaimedJob | None = None
    chord_results: str | None = None
    held: HeldLease | None = None
    scheduled_minute: bool = False
    _job: JobContext | None = None

    def create_id(self) -> str:
        return new_job_id()

    @property
    def job(self) -> JobContext:
        if self._job is None:
            self._job = DetachedJob(self.id, getattr(self, "queue", ""), self.name)
        return self._job

    def update_progress(self, percent: float, step: str = "") -> None:
        self.job.update_progress(percent, step)

    def log(self, text: str) -> None:
        self.job.log(text)

    def checkpoint(self, data: Any) -> None:
        self.job.checkpoint(data)

    @property
    def last_checkpoint(self) -> Any:
        return self.job.last_checkpoint

    def check(self) -> None:
        self.job.check()

    def defer(self, delay: float, reason: str) -> NoReturn:
        self.job.defer(delay, reason)
        raise AssertionError("defer returned")

    def limit(self, key: str, count: int, per: float) -> float:
        return self.job.limit(key, count, per)

    def lock(self, key: str) -> AbstractContextManager[bool]:
        return self.job.lock(key)


class CloudqPeriodicTask(CloudqTask, PeriodicTask):  # type: ignore[misc]
    """A task the scheduler enqueues."""


class CloudqRegistry(Registry):  # type: ignore[misc]
    """Knows a task by its queue and name, so that its function may move to another module."""

    _queues: tuple[str, ...] | None = None

    def task_to_string(self, task_class: type[Task]) -> str:
        queue = getattr(task_class, "queue", None)
        return f"{queue}:{task_class.__name__}" if queue else str(super().task_to_string(task_class))

    def find(self, queue: str, name: str) -> type[CloudqTask] | None:
        found: type[CloudqTask] | None = self._registry.get(f"{queue}:{name}")
        return found

    def names(self) -> frozenset[str]:
        """Every task as `queue:name`."""
        return frozenset(self._registry)

    def classes(self) -> list[type[CloudqTask]]:
        return [task_class for task_class in self._registry.values() if hasattr(task_class, "queue")]

    def register(self, task_class: type[Task]) -> bool:
        self._queues = None
        return bool(super().register(task_class))

    def unregister(self, task_class: type[Task]) -> bool:
        self._queues = None
        return bool(super().unregister(task_class))

    def queues(self) -> tuple[str, ...]:
        """The queues that have a task here, in the order of registration."""
        if self._queues is None:
            self._queues = tuple(dict.fromkeys(task_class.queue for task_class in self.classes()))
        return self._queues


class CloudqTaskWrapper(TaskWrapper):  # type: ignore[misc]
    """What `@huey.task` makes of a function."""

    task_base = CloudqTask

    def __init__(
        self,
        huey: CloudqHuey,
        func: Callable[..., Any],
        context: bool = False,
        name: str | None = None,
        task_base: type[Task] | None = None,
        queue: str | None = None,
        **settings: Any,
    ) -> None:
        settings["queue"] = huey.name if queue is None else checked_queue(queue)
        settings.setdefault("rebuild", staticmethod(Rebuilder(func)))
        if isinstance(settings.get("backoff"), Backoff):
            settings["backoff"] = settings["backoff"].model_dump_json(by_alias=True)
        base = CloudqPeriodicTask if task_base is PeriodicTask else task_base
        super().__init__(huey, func, context=context, name=name, task_base=base, **settings)

    @property
    def queue(self) -> str:
        return str(self.task_class.queue)

    def s(self, *args: Any, **kwargs: Any) -> Task:
        eta, delay = kwargs.pop("eta", None), kwargs.pop("delay", None)
        task = super().s(*args, **kwargs)
        if eta is not None or delay is not None:
            task.eta = moment(eta, delay, self.huey.utc)
        return task

    def schedule(self, args: Any = None, kwargs: Any = None, eta: Any = None, delay: Any = None, **options: Any) -> Any:
        if eta is None and delay is None:
            args, eta, delay = _only_a_time(args)
        if kwargs is not None and not isinstance(kwargs, dict):
            raise ValueError("schedule() kwargs argument must be a dict.")
        task = self.task_class(args or (), kwargs or {}, eta=moment(eta, delay, self.huey.utc), **options)
        return self.huey.enqueue(task)


class ProcessorWrapper(CloudqTaskWrapper):
    """What a processor becomes: a task whose message is one payload, run as `func(payload, job)`."""

    def create_task(
        self,
        func: Callable[[Any, JobContext], Any],
        context: bool = False,
        name: str | None = None,
        **settings: Any,
    ) -> type[Task]:
        task_class: type[Task] = super().create_task(func, context, name, **settings)

        def execute(self: CloudqTask) -> Any:
            payload = self.args[0] if len(self.args) == 1 and not self.kwargs else self.kwargs
            if self.payload_model is not None:
                payload = validated(self.payload_model, payload, self.name)
            return func(payload, self.job)

        task_class.execute = execute
        return task_class


def register_processor(
    huey: CloudqHuey,
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
    """Let `func(payload, job)` run the jobs of this name and queue; `model` checks each payload before.

    `timeout` in seconds; `priority` is a rank (smaller first). Retries, backoff, timeout and priority are what a
    call through the returned wrapper gets; a job enqueued by others brings its own in its record.
    """
    return ProcessorWrapper(
        huey,
        func,
        name=name,
        queue=queue,
        default_retries=retries,
        default_timeout=timeout,
        default_priority=JobPriority.NORMAL - priority,
        backoff=backoff or "",
        payload_model=model,
        rebuild=staticmethod(lambda args, kwargs: (args, kwargs)),
    )


def checked_queue(queue: str) -> str:
    """Raises ConfigurationError for a name no queue may bear."""
    if queue in RESERVED_QUEUES or not _QUEUE_NAME.fullmatch(queue):
        raise ConfigurationError(f"no queue may be named {queue!r}")
    return queue


def rank_of(priority: float | None) -> int:
    """The engine's rank (smaller first) for Huey's priority (larger first). Raises InvalidOptions."""
    rank = JobPriority.NORMAL - (priority or 0)
    if rank != int(rank) or not MIN_RANK <= rank <= MAX_RANK:
        raise InvalidOptions(
            f"priority {priority} is not an integer from {JobPriority.NORMAL - MAX_RANK} "
            f"to {JobPriority.NORMAL - MIN_RANK}"
        )
    return int(rank)


def _only_a_time(args: Any) -> tuple[None, Any, Any]:
    """`schedule(60)`, `schedule(timedelta)` and `schedule(datetime)` pass a time where the arguments stand."""
    if isinstance(args, int | float | dt.timedelta):
        return None, None, args
    if isinstance(args, dt.datetime):
        return None, args, None
    raise ValueError("schedule() missing required eta= or delay=")


def moment(eta: dt.datetime | None, delay: float | dt.timedelta | None, utc: bool) -> dt.datetime:
    """The naive eta a Huey task carries: UTC, or local time with its fold, so that no change of clocks moves it.

    Huey adds a delay to the wall clock and drops the fold, which is an hour wrong when clocks change.
    """
    if (eta is None) == (delay is None):
        raise ValueError("Specify either an eta (datetime) or delay (seconds)")
    if delay is not None:
        seconds = delay.total_seconds() if isinstance(delay, dt.timedelta) else delay
        at = dt.datetime.fromtimestamp(time.time() + seconds, dt.UTC)
    elif isinstance(eta, dt.datetime):
        at = eta.astimezone(dt.UTC)
    else:
        raise ValueError("eta must be a datetime instance")
    if utc:
        return at.replace(tzinfo=None)
    local = at.astimezone().replace(tzinfo=None)
    return local if local.timestamp() == at.timestamp() else local.replace(fold=1)


def milliseconds_until(eta: dt.datetime | None, utc: bool) -> int:
    """How long until a task's eta, by this process's clock; 0 when it is past."""
    if eta is None:
        return 0
    if eta.tzinfo is None and utc:
        eta = eta.replace(tzinfo=dt.UTC)
    return max(0, math.ceil((eta.timestamp() - time.time()) * 1000))

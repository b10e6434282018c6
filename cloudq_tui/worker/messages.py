"""A Huey task as a job to add, and a claimed job as a Huey task again."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from huey.registry import Message

from cloudq_tui.engine import codec
from cloudq_tui.engine.arguments import bounded
from cloudq_tui.engine.records import ClaimedJob, NewJob, StoredCall
from cloudq_tui.errors import CloudqError, UnreadableJob
from cloudq_tui.worker.tasks import CloudqTask, milliseconds_until, moment, rank_of

if TYPE_CHECKING:
    from cloudq_tui.worker.execution import ExecutingHuey

# What travels in the message beside args and kwargs. The rest of Huey's Message are fields of the record.
_EXTRAS = ("eta", "priority", "on_complete", "on_error", "expires", "expires_resolved", "chord_config")
_USUAL = (("retry_delay", "default_retry_delay"), ("retry_backoff", "default_retry_backoff"))
_CHORD_RESULTS = "chord_results"


class UnknownTask(CloudqError):
    """This worker has no task of that queue and name; another one may, in a rolling deploy."""


def new_job(huey: ExecutingHuey, task: CloudqTask, *, unique: bool = False, delay: int | None = None) -> NewJob:
    """The job of one enqueued task. Raises InvalidPayload, InvalidOptions; HueyException when unregistered."""
    registry = huey._registry  # noqa: SLF001 - Huey offers no other door to its registry
    # Most tasks are followed by nothing, and then the task itself says what its message would, at no cost.
    alone = task.on_complete is task.on_error is task.chord_config is None and "task" not in task.kwargs
    message = task if alone and registry.find(task.queue, task.name) else registry.create_message(task)
    extras = {name: value for name in _EXTRAS if (value := getattr(message, name)) is not None}
    for name, usual in _USUAL:
        value = getattr(task, name)
        if value != getattr(task, usual):
            extras[name] = value
    if task.timeout == 0:
        extras["timeout"] = 0  # not the same as None: it overrides the timeout of the task's decorator
    if task.chord_results is not None:
        extras[_CHORD_RESULTS] = task.chord_results
    return NewJob(  # by position: it is made for every job
        str(task.id),
        task.queue,
        task.name,
        bounded(codec.pack_call(message.args, message.kwargs, extras), huey.max_payload),
        rank_of(task.priority),
        milliseconds_until(task.eta, huey.utc) if delay is None else delay,
        max(0, task.retries),
        task.backoff,
        max(1, round(task.timeout * 1000)) if task.timeout else 0,
        unique,
        not unique,
    )


def read_task(huey: ExecutingHuey, claim: ClaimedJob) -> CloudqTask:
    """The task of a claimed job, ready to run.

    Raises UnreadableJob for a message that makes no sense, UnknownTask when this worker lacks the task or one of
    those to follow it.
    """
    if claim.message is None:
        raise UnreadableJob("the stored payload is gone")
    task = _build(huey, claim.queue, claim, claim.message)
    if task.chord_results is not None:
        results = [codec.decode(data) for data in huey.kv.chord_results(task.chord_results)]
        task.extend_data((results,))
    task.args, task.kwargs = task.rebuild(task.args, task.kwargs)
    task.claim = claim
    return task


def read_stored(huey: ExecutingHuey, queue: str, call: StoredCall) -> CloudqTask:
    """The task of a job that has not started, for listings. Raises as `read_task`."""
    task = _build(huey, queue, call, call.message)
    if call.due is not None:
        due = dt.datetime.fromtimestamp(call.due / 1000, dt.UTC)
        task.eta = moment(due, None, huey.utc)
    return task


def _build(huey: ExecutingHuey, queue: str, job: ClaimedJob | StoredCall, message: bytes) -> CloudqTask:
    registry = huey._registry  # noqa: SLF001 - as above
    task_class = registry.find(queue, job.name)
    if task_class is None:
        raise UnknownTask(f"no task {job.name!r} on queue {queue!r} is registered in this worker")
    call = codec.unpack_call(message)
    retries = max(0, job.retries - job.failures)
    if call.extras:
        fields = {name: value for name, value in call.extras.items() if name in Message._fields}
        fields.update(id=job.id, name=f"{queue}:{job.name}", retries=retries)
        task = _create(registry, Message(args=call.args, kwargs=call.kwargs, **fields))
    else:  # most tasks: what Huey would make of such a message, without making one
        task = task_class(call.args, call.kwargs, job.id, retries=retries)
    task.timeout = _seconds(job.timeout) or call.extras.get("timeout")
    task.chord_results = call.extras.get(_CHORD_RESULTS)
    if task.retry_delay and task.retry_backoff:
        task.retry_delay *= task.retry_backoff**job.failures
    return task


def _create(registry: Any, message: Any) -> CloudqTask:
    try:
        task: CloudqTask = registry.create_task(message)
    except UnreadableJob:
        raise
    except Exception as error:
        missing = _missing(registry, message)
        if missing:
            raise UnknownTask(f"task {missing!r}, to follow this one, is not registered in this worker") from None
        raise UnreadableJob(f"the stored call makes no sense: {type(error).__name__}: {error}") from error
    return task


def _missing(registry: Any, message: Any) -> str:
    """The first task named by a message, or by those to follow it, that is not registered."""
    if not isinstance(message, Message):
        return ""
    if message.name not in registry.names():
        return str(message.name)
    chord = message.chord_config
    callback = chord[3] if isinstance(chord, tuple | list) and len(chord) == 4 else None
    return next(
        filter(None, (_missing(registry, one) for one in (message.on_complete, message.on_error, callback))), ""
    )


def _seconds(timeout: int) -> float | None:
    """A timeout as the task's author wrote it: `5`, not `5.0`."""
    if not timeout:
        return None
    return timeout // 1000 if timeout % 1000 == 0 else timeout / 1000

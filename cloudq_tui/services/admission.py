"""Turns a payload and its options into the job that is added: defaults filled in, the call encoded.

Each default is taken from the first that names it: the options, the job's definition, the queue's settings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from cloudq_tui.engine.arguments import bounded
from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.records import NewJob
from cloudq_tui.models.job import (
    MAX_PAYLOAD,
    Backoff,
    Job,
    JobOptions,
    JobPriority,
    JobState,
    KeepFinished,
    new_job_id,
)
from cloudq_tui.services.catalog import JobDefinition
from cloudq_tui.settings import QueueSettings

_NO_QUEUE = QueueSettings(retries=0)


def draft(
    queue: str,
    name: str,
    data: Any,
    options: JobOptions,
    *,
    definition: JobDefinition | None = None,
    settings: QueueSettings | None = None,
    published: Mapping[str, Any] | None = None,
    max_payload: int = MAX_PAYLOAD,
) -> NewJob:
    """The job to add. `data` has been checked. Raises InvalidPayload for a value that has no stored form, or for more
    than `max_payload` bytes.

    Ids are random rather than ordered by time, so that the eight characters people see tell jobs apart.
    """
    own = settings or _NO_QUEUE
    retries = options.retries
    if retries is None:
        retries = definition.retries if definition else _number(published, "retries")
    if retries is None:
        retries = own.retries
    backoff = options.backoff or (definition.backoff if definition else _backoff(published)) or own.backoff
    timeout = options.timeout_ms
    if timeout is None and definition is not None and definition.timeout is not None:
        timeout = round(definition.timeout.total_seconds() * 1000)
    return NewJob(
        id=options.job_id or new_job_id(),
        queue=queue,
        name=name,
        message=bounded(pack_call((data,), {}), max_payload),
        rank=_rank(options, definition, data),
        delay=options.delay_ms,
        retries=retries,
        backoff=_compact(backoff) if retries else "",
        timeout=timeout or 0,
        unique=options.job_id is not None,
        keep_completed=_kept(options.remove_on_complete),
        keep_failed=_kept(options.remove_on_fail),
    )


def as_job(new: NewJob, data: Any, options: JobOptions) -> Job:
    """The added job as its producer sees it at once, without another look at Redis; its time is this host's."""
    now = time.time_ns() // 1_000_000
    return Job(
        id=new.id,
        queue=new.queue,
        name=new.name,
        state=JobState.DELAYED if new.delay else JobState.WAITING,
        timestamp=now,
        priority=new.rank,
        retries=new.retries,
        due=now + new.delay if new.delay else None,
        data=data.model_dump(mode="json", by_alias=True) if isinstance(data, BaseModel) else data,
        options=options.to_wire(),
    )


def _rank(options: JobOptions, definition: JobDefinition | None, data: Any) -> int:
    """A definition may have a `priority_of(data)`, where the priority depends on the payload."""
    if options.priority is not None:
        return options.priority
    if definition is None:
        return int(JobPriority.NORMAL)
    by_payload = getattr(definition, "priority_of", None)
    return definition.priority if by_payload is None else int(by_payload(data))


def _number(published: Mapping[str, Any] | None, key: str) -> int | None:
    value = (published or {}).get(key)
    return value if isinstance(value, int) else None


def _backoff(published: Mapping[str, Any] | None) -> Backoff | None:
    text = (published or {}).get("backoff")
    return Backoff.model_validate_json(text) if text else None


def _compact(backoff: Backoff) -> str:
    """Defaults left out: the record stays small, and a job follows the policy it was enqueued with."""
    return backoff.model_dump_json(exclude_defaults=True)


def _kept(choice: bool | KeepFinished | None) -> str:
    """The record's form of removeOnComplete and removeOnFail (engine/records.py, NewJob)."""
    if choice is True or (isinstance(choice, KeepFinished) and 0 in (choice.age, choice.count)):
        return "0"
    if not isinstance(choice, KeepFinished) or (choice.age is None and choice.count is None):
        return ""
    age, count = ("" if part is None else str(part) for part in (choice.age, choice.count))
    return f"{age}:{count}"

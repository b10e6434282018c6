"""The endpoints, each a few lines over the operations. Plain functions: the web framework runs them in threads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import ConfigDict, Field

from cloudq_tui.errors import InvalidOptions, InvalidPayload
from cloudq_tui.models.job import JobOptions, JobState
from cloudq_tui.services.operations import DAY_MS, QueueOperations
from cloudq_tui.services.wire import JobsPage, JobWire, QueueMetricsWire, StatusWire, Wire

MAX_PAGE = 500
"""Most jobs of one answer; a longer range is cut to it."""

router = APIRouter(prefix="/queues")

Payload = Annotated[dict[str, Any], Body(description="the job's payload, and by choice `options`")]


class Done(Wire):
    """What was done, in words and in numbers."""

    message: str
    queue: str
    job_id: str | None = None
    count: int | None = None


class Accepted(Wire):
    message: str
    job_id: str


class CleanRequest(Wire):
    """`grace` in ms: younger jobs stay."""

    model_config = ConfigDict(extra="forbid")

    grace: Annotated[int, Field(ge=0, strict=True)] = DAY_MS
    type: JobState = JobState.COMPLETED


class PageRequest(Wire):
    """Jobs `start` to `end` of one state, both included; 20 unless said."""

    model_config = ConfigDict(extra="forbid")

    status: JobState = JobState.WAITING
    start: Annotated[int, Field(ge=0)] = 0
    end: Annotated[int | None, Field(ge=0)] = None


def _operations(request: Request) -> QueueOperations:
    operations: QueueOperations = request.app.state.operations
    return operations


@router.get("/status")
def status(request: Request) -> StatusWire:
    """The counts of all queues, and their sums."""
    return StatusWire.of(_operations(request).all_queues_status())


@router.get("/{queue}/jobs")
def jobs(request: Request, queue: str, page: Annotated[PageRequest, Query()]) -> JobsPage:
    """Jobs of one state, without their payloads."""
    last = min(page.start + 19 if page.end is None else page.end, page.start + MAX_PAGE - 1)
    return JobsPage.of(_operations(request), queue, page.status, page.start, last)


@router.get("/{queue}/jobs/{job_id}")
def job(request: Request, queue: str, job_id: str) -> JobWire:
    """One job, whole; secrets and personal data masked."""
    return JobWire.of(_operations(request).job(queue, job_id))


@router.get("/{queue}/metrics")
def metrics(request: Request, queue: str) -> QueueMetricsWire:
    """By job name since ever and by minute over the last 24 h: outcomes, how long jobs waited and ran (ms)."""
    return QueueMetricsWire.model_validate(_operations(request).metrics(queue))


@router.post("/{queue}/jobs/{job_id}/retry")
def retry(request: Request, queue: str, job_id: str) -> Done:
    _operations(request).retry_job(queue, job_id)
    return Done(message="the job waits again", queue=queue, job_id=job_id, count=1)


@router.delete("/{queue}/jobs/{job_id}")
def remove(request: Request, queue: str, job_id: str) -> Done:
    _operations(request).remove_job(queue, job_id)
    return Done(message="the job was removed", queue=queue, job_id=job_id, count=1)


@router.post("/{queue}/pause")
def pause(request: Request, queue: str) -> Done:
    _operations(request).pause_queue(queue)
    return Done(message="the queue is paused; active jobs go on", queue=queue)


@router.post("/{queue}/resume")
def resume(request: Request, queue: str) -> Done:
    resumed = _operations(request).resume_queue(queue)
    return Done(message="the queue gives jobs again" if resumed else "the queue was not paused", queue=queue)


@router.delete("/{queue}/empty")
def empty(request: Request, queue: str) -> Done:
    """Remove all waiting and delayed jobs. A pause stays."""
    done = _operations(request).empty_queue(queue)
    return Done(message="waiting and delayed jobs were removed", queue=queue, count=done.moved)


@router.post("/{queue}/clean")
def clean(request: Request, queue: str, wanted: Annotated[CleanRequest | None, Body()] = None) -> Done:
    """Remove the jobs of one state that are older than a grace."""
    wanted = wanted or CleanRequest()
    done = _operations(request).clean_queue(queue, wanted.grace, wanted.type)
    message = f"{wanted.type.value} jobs older than {wanted.grace} ms were removed"
    return Done(message=message, queue=queue, count=done.moved)


@router.post("/test/send-email", status_code=202)
def test_send_email(request: Request, payload: Payload) -> Accepted:
    return _enqueued(request, "email", "send-email", payload)


@router.post("/test/send-sms", status_code=202)
def test_send_sms(request: Request, payload: Payload) -> Accepted:
    return _enqueued(request, "sms", "send-sms", payload)


@router.post("/test/start-device", status_code=202)
def test_start_device(request: Request, payload: Payload) -> Accepted:
    return _enqueued(request, "device-operation", "start-device", payload)


def _enqueued(request: Request, queue: str, name: str, payload: dict[str, Any]) -> Accepted:
    data = dict(payload)
    wanted = data.pop("options", None)
    if wanted is not None and not isinstance(wanted, dict):
        raise InvalidOptions("options: must be an object")
    if not data:
        raise InvalidPayload("payload", "is empty", job=name)
    job = _operations(request).enqueue(queue, name, data, JobOptions.from_wire(wanted or {}))
    return Accepted(message=f"{name} was queued", job_id=job.id)

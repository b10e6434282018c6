"""One JSON line per start and end of a job, on the logger `cloudq.worker`. No payload: it may hold addresses."""

from __future__ import annotations

import json
import logging
import sys

from cloudq_tui.engine.records import ClaimedJob, Finish, Outcome

logger = logging.getLogger("cloudq.worker")

_EVENTS = {
    Outcome.COMPLETED: "queue_job_complete",
    Outcome.FAILED: "queue_job_failed",
    Outcome.RETRY: "queue_job_failed",
}


def install(level: int | None = None) -> None:
    """Write to stderr, unless the application has set this logger up itself."""
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(level if level is not None else max(logging.INFO, logging.getLogger("huey").level))


def started(claim: ClaimedJob) -> None:
    if logger.isEnabledFor(logging.INFO):
        logger.info(_line("queue_job_start", claim))


def ended(claim: ClaimedJob, finish: Finish, seconds: float) -> None:
    """A deferred or released job has not ended: it says nothing."""
    event = _EVENTS.get(finish.outcome)
    if event is not None and logger.isEnabledFor(logging.INFO):
        logger.info(_line(event, claim, duration=round(seconds * 1000, 1)))


def _line(event: str, claim: ClaimedJob, **more: float) -> str:
    return json.dumps(
        {
            "type": event,
            "queue": claim.queue,
            "jobId": claim.id,
            "job": claim.name,
            "attempt": claim.failures + 1,
            **more,
        },
        separators=(",", ":"),
    )

"""Reads the rows of the reading scripts into models."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cloudq_tui.engine.codec import decode, to_plain, unpack_call, visible_data
from cloudq_tui.engine.connection import plain
from cloudq_tui.engine.records import StoredCall
from cloudq_tui.errors import UnreadableJob
from cloudq_tui.models.job import Attempt, Job, JobState, LogLine
from cloudq_tui.models.metrics import BOUNDS_MS, JobMetrics, MinuteMetrics, QueueMetrics, Spread
from cloudq_tui.models.queue import LimiterState, Pause, QueueCounts, QueueStatus, QueueView

_ENOUGH_FINISHES = 20  # below this a failure rate says nothing


def text(value: Any) -> str:
    """Bytes from Redis as text, whatever they hold."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def number(value: Any) -> int:
    return int(float(value)) if value else 0


def _moment(value: Any) -> int | None:
    return int(float(value)) if value else None


def read_row(row: Any, queue: str) -> Job:
    """A list row of include/row.lua."""
    job_id, state, score, error, fields = row
    name, created, rank, retries, failures, stalled, percent, step, started, ended, worker, why, kind, *_ = fields
    shown = JobState(text(state))
    completed = shown is JobState.COMPLETED
    return Job(
        id=text(job_id),
        queue=queue,
        name=text(name),
        state=shown,
        timestamp=number(created),
        priority=number(rank),
        retries=number(retries),
        attempts_made=number(failures) + (1 if completed else 0),
        stalled=number(stalled),
        progress=100 if completed else number(percent),
        step=text(step),
        processed_on=_moment(started),
        finished_on=_moment(ended),
        due=number(score) if shown is JobState.DELAYED else None,
        lease_until=number(score) if shown is JobState.ACTIVE else None,
        worker=text(worker),
        error=text(error),
        reason=text(kind) or text(why),
    )


def _cut(data: bytes, size: int) -> str | None:
    """A note instead of data that is longer than what was fetched."""
    if size <= len(data):
        return None
    return f"{data.decode(errors='replace')}… ({size} bytes, cut at {len(data)})"


def _decoded(data: bytes, size: int) -> Any:
    if not size:
        return None
    try:
        return _cut(data, size) or to_plain(decode(data))
    except UnreadableJob:
        return data.decode(errors="replace")


def _payload(data: bytes, size: int) -> Any:
    try:
        return _cut(data, size) or (to_plain(visible_data(unpack_call(data))) if size else None)
    except UnreadableJob:
        return data.decode(errors="replace")


def read_attempt(data: bytes) -> Attempt:
    """One stored attempt; what cannot be read is shown as it stands."""
    try:
        fields = json.loads(data)
        return Attempt(**{name: fields[name] for name in Attempt.__dataclass_fields__ if fields.get(name) is not None})
    except (ValueError, TypeError, AttributeError, KeyError):
        return Attempt(number=0, outcome="unreadable", error=data.decode(errors="replace"))


def _log_line(data: bytes) -> LogLine:
    at, _, line = text(data).partition(" ")
    return LogLine(int(at) if at.isdigit() else 0, line)


def read_job(answer: Any, queue: str) -> Job:
    """What job.lua returned of a job that exists."""
    row, payload, payload_size, result, result_size, attempts, log, checkpoint, cancelled, *kept = answer
    job = read_row(row, queue)
    fields = row[4]
    options = {
        "priority": job.priority,
        "retries": job.retries,
        "timeout": number(fields[13]) or None,
        "backoff": json.loads(text(fields[14])) if fields[14] else None,
        "removeOnComplete": text(kept[0]) or None,
        "removeOnFail": text(kept[1]) or None,
    }
    changes: dict[str, Any] = {
        "data": _payload(payload, payload_size),
        "options": {name: value for name, value in options.items() if value is not None},
        "result": _decoded(result, result_size),
        "attempts": tuple(read_attempt(one) for one in attempts),
        "logs": tuple(_log_line(one) for one in log),
        "checkpoint": _decoded(checkpoint, len(checkpoint)),
    }
    if cancelled and job.state is JobState.ACTIVE:
        changes["reason"] = f"being cancelled by {text(cancelled)}"
    return replace(job, **changes)


def _problem(row: Any) -> str:
    """What include/told.lua says in the place of a queue's numbers; "" where these are there."""
    return plain(text(row[0])) if len(row) == 1 else ""


def read_status(row: Any, name: str) -> QueueStatus:
    """One queue of status.lua."""
    problem = _problem(row)
    return QueueStatus(name, QueueCounts() if problem else QueueCounts(*row), problem)


def read_view(row: Any, name: str, now: int, workers: int) -> QueueView:
    """One queue of snapshot.lua."""
    problem = _problem(row)
    if problem:
        return QueueView(name, QueueCounts(), workers=workers, problem=problem)
    waiting, active, completed, failed, delayed, due, pause, oldest, limiter, slots, minutes, _ = row
    counts = QueueCounts(
        waiting=0 if pause else waiting,
        active=active,
        completed=completed,
        failed=failed,
        delayed=delayed - due,
        paused=waiting + due if pause else 0,
    )
    done, bad, busy = minutes
    finishes = done + bad
    arrivals, departures = slots[0::2], slots[1::2]
    window = 25 + (now % 5000) / 1000
    return QueueView(
        name=name,
        counts=counts,
        pause=Pause(text(pause[0]), text(pause[1]), number(pause[2]), _moment(pause[3])) if pause else None,
        failure_rate=bad / finishes if finishes >= _ENOUGH_FINISHES else None,
        finishes=finishes,
        in_rate=sum(arrivals[-6:]) / window,
        out_rate=sum(departures[-6:]) / window,
        mean_duration=busy / finishes if finishes else None,
        oldest_waiting=oldest or None,
        history=tuple(departures),
        limiter=_limiter(limiter) if limiter else None,
        workers=workers,
    )


def _limiter(row: Any) -> LimiterState:
    most, duration, used, first = row
    left = max(0, most - used)
    return LimiterState(most, duration, left, None if left else first + duration)


def read_call(row: Any, message: bytes | None) -> StoredCall:
    """One stored call of calls.lua; a payload that is gone is empty."""
    fields = row[4]
    return StoredCall(
        id=text(row[0]),
        name=text(fields[0]),
        message=message or b"",
        rank=number(fields[2]),
        timestamp=number(fields[1]),
        retries=number(fields[3]),
        failures=number(fields[4]),
        backoff=text(fields[14]),
        timeout=number(fields[13]),
        due=number(row[2]) if text(row[1]) == "delayed" else None,
    )


def read_active(view: Any, queue: str) -> list[Job]:
    """The active jobs of one queue of snapshot.lua."""
    return [
        Job(
            id=text(row[0]),
            queue=queue,
            name=text(row[1]),
            state=JobState.ACTIVE,
            timestamp=number(row[5]),
            processed_on=_moment(row[2]),
            progress=number(row[3]),
            step=text(row[4]),
            worker=text(row[6]),
            priority=number(row[7]),
            attempts_made=number(row[8]),
        )
        for row in ([] if _problem(view) else view[11])
    ]


def read_metrics(answer: Any, queue: str) -> QueueMetrics:
    """The answer of metrics.lua."""
    now, totals, minutes = answer
    by_name: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for field, value in zip(totals[0::2], totals[1::2], strict=True):
        name, _, what = text(field).rpartition("|")
        by_name[name][what] = number(value)
    return QueueMetrics(
        timestamp=now,
        queue=queue,
        jobs=tuple(_job_metrics(name, sums) for name, sums in sorted(by_name.items())),
        minutes=tuple(
            MinuteMetrics(minutes[at] * 60_000, *minutes[at + 1 : at + 6]) for at in range(0, len(minutes), 6)
        ),
    )


def _job_metrics(name: str, sums: Mapping[str, int]) -> JobMetrics:
    def spread(total: str, histogram: str) -> Spread:
        buckets = [sums.get(f"{histogram}{bucket}", 0) for bucket in range(1, len(BOUNDS_MS) + 2)]
        return Spread.of(sums.get(total, 0), buckets)

    completed, failed, excluded, retried = (sums.get(outcome, 0) for outcome in "cfxr")
    return JobMetrics(name, completed, failed, excluded, retried, spread("d", "D"), spread("w", "W"))

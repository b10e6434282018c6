"""What the commands print, as plain text: columns that a person reads and `awk` can split.

Whatever a job carries goes through `visible`, so that no payload, error or log can steer the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from cloudq_tui.models.event import QueueEvent
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.metrics import QueueMetrics, Spread
from cloudq_tui.models.queue import Preview, QueueView, Snapshot
from cloudq_tui.models.worker import WorkerInfo
from cloudq_tui.tui.render import age, took
from cloudq_tui.tui.text import fit, lines, visible, width

_HEAD = ("QUEUE", "WAITING", "ACTIVE", "DELAYED", "PAUSED", "COMPLETED", "FAILED", "FAIL%", "OLDEST", "WORKERS")
_OUTCOMES = ("COMPLETED", "FAILED", "EXCLUDED", "RETRIED")
_NAME_HEAD = ("JOB", *_OUTCOMES, "MEAN", "P50", "P95", "P99", "WAIT", "P50", "P95", "P99")
_HOUR_HEAD = ("HOUR FROM", *_OUTCOMES, "MEAN")
_HOUR_MS = 3_600_000


def overview(snapshot: Snapshot) -> str:
    """All queues, and below them what is wrong."""
    rows = [_queue_row(view, snapshot.timestamp) for view in snapshot.queues]
    notes = [f"! {alert.queue}: {alert.text}" for view in snapshot.queues for alert in view.alerts]
    for view in snapshot.queues:
        if view.pause is not None:
            why = f": {visible(view.pause.why)}" if view.pause.why else ""
            since = age(snapshot.timestamp - view.pause.since)
            until = f", resumes in {age(view.pause.until - snapshot.timestamp)}" if view.pause.until else ""
            notes.append(f"‖ {view.name}: paused by {visible(view.pause.by)} {since} ago{until}{why}")
    return "\n".join([table(_HEAD, rows, right=range(1, len(_HEAD))), *(["", *notes] if notes else [])])


def _queue_row(view: QueueView, now: int) -> list[str]:
    if view.problem:
        return [view.name, *["-"] * (len(_HEAD) - 2), str(view.workers)]
    counts = view.counts
    numbers = (counts.waiting, counts.active, counts.delayed, counts.paused, counts.completed, counts.failed)
    rate = "-" if view.failure_rate is None else f"{view.failure_rate * 100:.1f}"
    oldest = "-" if view.oldest_waiting is None else age(now - view.oldest_waiting)
    return [view.name, *map(str, numbers), rate, oldest.replace(" ", ""), str(view.workers)]


def job_list(jobs: Sequence[Job], total: int, state: JobState) -> str:
    rows = [
        [
            visible(job.id),
            visible(job.name),
            moment(job.finished_on or job.processed_on or job.timestamp),
            f"{job.attempts_made}/{job.retries + 1}",
            visible(job.error or job.reason or job.step)[:120],
        ]
        for job in jobs
    ]
    shown = f"{len(jobs)} of {total:,} {state} jobs"
    return f"{table(('ID', 'JOB', 'SINCE', 'TRIES', 'ERROR'), rows)}\n{shown}" if rows else shown


def one_job(job: Job) -> str:
    """Everything known of a job, one fact a line."""
    facts: list[tuple[str, str]] = [
        ("job", f"{job.queue} / {visible(job.name)}  {visible(job.id)}"),
        ("state", f"{job.state}" + (f" ({visible(job.reason)})" if job.reason else "")),
        ("progress", f"{job.progress}% {visible(job.step)}".rstrip()),
        ("priority", str(job.priority)),
        ("attempts", f"{job.attempts_made} of {job.retries + 1}"),
        ("queued", moment(job.timestamp)),
    ]
    facts += [
        (name, moment(at))
        for name, at in (("started", job.processed_on), ("ended", job.finished_on), ("due", job.due))
        if at
    ]
    facts += [("worker", visible(job.worker))] if job.worker else []
    text = [f"{name:<9} {value}" for name, value in facts]
    text += _block("error", job.error) + _block("data", pretty(job.data)) + _block("result", pretty(job.result))
    for attempt in job.attempts:
        text += _block(f"attempt {attempt.number}: {visible(attempt.outcome)}", attempt.traceback or attempt.error)
    return "\n".join(text + _block("logs", "\n".join(f"{moment(line.at)} {line.text}" for line in job.logs)))


def _block(title: str, text: str) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines(text))] if text else []


def worker_list(workers: Sequence[WorkerInfo]) -> str:
    rows = [
        [
            worker.host,
            str(worker.pid),
            f"{worker.running}/{worker.threads}",
            moment(worker.started),
            ",".join(worker.queues),
        ]
        for worker in workers
    ]
    return (
        table(("HOST", "PID", "BUSY", "STARTED", "QUEUES"), [list(map(visible, row)) for row in rows])
        if rows
        else "no live worker"
    )


def event_list(events: Sequence[QueueEvent]) -> str:
    rows = [[moment(event.at), event.kind, visible(event.job_id), visible(event.detail)[:120]] for event in events]
    return table(("AT", "EVENT", "JOB", "DETAIL"), rows) if rows else "nothing has happened yet"


def metric_tables(metrics: QueueMetrics) -> str:
    """By job name, and below it the hours of the last day in which a run ended."""
    if not metrics.jobs:
        return "no run has ended yet"
    names = [
        [
            visible(job.name),
            *map(str, (job.completed, job.failed, job.excluded, job.retried)),
            *_spread(job.duration),
            *_spread(job.wait),
        ]
        for job in metrics.jobs
    ]
    hours = []
    for hour, group in groupby(metrics.minutes, key=lambda minute: minute.at // _HOUR_MS):
        minutes = list(group)
        outcomes = [sum(getattr(minute, name.lower()) for minute in minutes) for name in _OUTCOMES]
        completed, failed, _, retried = outcomes
        runs, busy = completed + failed + retried, sum(minute.busy for minute in minutes)
        hours.append([moment(hour * _HOUR_MS)[:16], *map(str, outcomes), _took(busy / runs if runs else None)])
    text = table(_NAME_HEAD, names, right=range(1, len(_NAME_HEAD)))
    return f"{text}\n\n{table(_HOUR_HEAD, hours, right=range(1, len(_HOUR_HEAD)))}" if hours else text


def _spread(spread: Spread) -> list[str]:
    return [_took(value) for value in (spread.mean, spread.p50, spread.p95, spread.p99)]


def _took(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else took(milliseconds).replace(" ", "")


def previewed(preview: Preview) -> str:
    """What a bulk verb would touch, in one sentence's object."""
    names = ", ".join(visible(name) for name, _ in preview.names[:3])
    most = "up to " if preview.at_most else ""
    return f"{most}{preview.count:,} job{'' if preview.count == 1 else 's'}" + (f" ({names})" if names else "")


def pretty(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest cell, measured as a terminal draws it."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    aligned = set(right)
    return "\n".join(
        "  ".join(
            fit(cell, wide, right=at in aligned) for at, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )

"""The tables as data: which columns fit, and each row's cells. Pure functions over snapshots and jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cloudq_tui.models.alert import AlertRule
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.queue import QueueView
from cloudq_tui.tui import render
from cloudq_tui.tui.render import NOTHING, Line, Span, Tone
from cloudq_tui.tui.text import fit, short_id, visible, width

Cell = Line


@dataclass(frozen=True, slots=True)
class Column:
    """`columns` includes the gap to the left of a right-aligned column, to the right of a left-aligned one."""

    key: str
    label: str
    columns: int
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `key` is its identity while it moves."""

    key: str
    cells: tuple[Cell, ...]


def cell(span: Span) -> Cell:
    return (span,)


# --- the overview's queues ---------------------------------------------------------------------------------------

GLYPH = Column("glyph", "", 3)
_KEPT = ("wait", "act", "fail", "oldest")
_THEN = ("dly", "fail%", "in", "out", "spark", "done", "mean", "workers", "limit")
_QUEUE_COLUMNS = {
    column.key: column
    for column in (
        Column("wait", "WAIT", 5, right=True),
        Column("act", "ACT", 6, right=True),
        Column("dly", "DLY", 6, right=True),
        Column("fail", "FAIL", 6, right=True),
        Column("done", "DONE", 6, right=True),
        Column("fail%", "FAIL%", 6, right=True),
        Column("in", "IN/s", 6, right=True),
        Column("out", "OUT/s", 6, right=True),
        Column("oldest", "OLDEST", 10, right=True),
        Column("mean", "MEAN", 8, right=True),
        Column("workers", "WORKERS", 8, right=True),
        Column("limit", "LIMIT", 9, right=True),
        Column("spark", "LAST 60s", 9, right=True),
    )
}
LONG_SPARK = 13


def queue_columns(screen: int, longest_name: int) -> tuple[Column, ...]:
    """The columns that fit, in reading order; what is left over goes to the names, the sparkline and the gaps."""
    name = 17
    left = screen - GLYPH.columns - name
    chosen: set[str] = set()
    for key in (*_KEPT, *_THEN):
        column = _QUEUE_COLUMNS[key]
        if column.columns > left:
            break
        chosen.add(key)
        left -= column.columns
    columns = [column for column in _QUEUE_COLUMNS.values() if column.key in chosen]
    longer = min(left, max(0, longest_name - name))
    name, left = name + longer, left - longer
    if "limit" in chosen and left >= LONG_SPARK - 9:
        columns = [replace(column, columns=LONG_SPARK) if column.key == "spark" else column for column in columns]
        left -= LONG_SPARK - 9
    gap = min(2, left // max(1, len(columns)))
    columns = [replace(column, columns=column.columns + gap) for column in columns]
    spare = 0 if gap else left
    return (GLYPH, Column("name", "QUEUE", name + spare), *columns)


def queue_row(view: QueueView, columns: Sequence[Column], now: int, doing: str = "") -> Row:
    """One queue. `doing` is what the person just asked for and Redis has not confirmed yet."""
    return Row(view.name, tuple(_QUEUE_CELLS[column.key](view, column, now, doing) for column in columns))


def _glyph(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    mark = render.queue_mark(view)
    return ((" ", "plain"), (mark.glyph, mark.tone))


def _name(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    mark = render.queue_mark(view)
    tone: Tone = "strong" if mark in {render.FAILING, render.WARNING, render.NO_WORKER} else "plain"
    return cell((visible(view.name), tone))


def _wait(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    if view.pause is not None:
        return cell((render.count(view.counts.waiting + view.counts.paused), "dim"))
    return cell(_watched(view, AlertRule.WAITING, view.counts.waiting))


def _watched(view: QueueView, rule: AlertRule, value: int) -> Span:
    broken = any(alert.rule == rule for alert in view.alerts)
    return render.number(value, "warn" if broken else "plain")


def _failed(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    return cell(render.number(view.counts.failed, _failure_tone(view)))


def _failure_tone(view: QueueView) -> Tone:
    return "bad" if any(alert.rule == AlertRule.FAILURE_RATE for alert in view.alerts) else "plain"


def _failure_rate(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    if view.failure_rate is None:
        return cell((NOTHING, "dim"))
    return cell((f"{view.failure_rate * 100:.1f}", _failure_tone(view) if view.failure_rate else "dim"))


def _rate(per_second: float, view: QueueView) -> Cell:
    if per_second >= 0.05:
        return cell((render.rate(per_second), "plain"))
    return cell(("0.0" if any(view.history) else NOTHING, "dim"))


def _oldest(view: QueueView, _column: Column, now: int, doing: str) -> Cell:
    if doing:
        return cell((doing, "accent"))
    if view.pause is not None and view.pause.until is not None:
        return cell((render.countdown(view.pause.until - now), "accent"))
    if view.oldest_waiting is None:
        return cell((NOTHING, "dim"))
    late = any(alert.rule == AlertRule.OLDEST_WAITING for alert in view.alerts)
    tone: Tone = "dim" if view.pause is not None else "warn" if late else "plain"
    return cell((render.age(now - view.oldest_waiting), tone))


def _mean(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    if view.mean_duration is None:
        return cell((NOTHING, "dim"))
    return cell((render.took(view.mean_duration), _duration_tone(view)))


def _duration_tone(view: QueueView) -> Tone:
    return "warn" if any(alert.rule == AlertRule.DURATION for alert in view.alerts) else "muted"


def _workers(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    missing = any(alert.rule == AlertRule.NO_WORKER for alert in view.alerts)
    return cell((str(view.workers), "warn" if missing else "muted" if view.workers else "dim"))


def _limit(view: QueueView, _column: Column, _now: int, _doing: str) -> Cell:
    if view.limiter is None:
        return cell((NOTHING, "dim"))
    text = f"{render.count(view.limiter.left)}/{render.count(view.limiter.max)}"
    return cell((text, "muted" if view.limiter.left else "warn"))


def _spark(view: QueueView, column: Column, _now: int, _doing: str) -> Cell:
    return cell((render.sparkline(view.history, 12 if column.columns >= LONG_SPARK else 8), "muted"))


_QUEUE_CELLS: dict[str, Callable[[QueueView, Column, int, str], Cell]] = {
    "glyph": _glyph,
    "name": _name,
    "wait": _wait,
    "act": lambda view, _c, _n, _d: cell(render.number(view.counts.active)),
    "dly": lambda view, _c, _n, _d: cell(render.number(view.counts.delayed)),
    "fail": _failed,
    "done": lambda view, _c, _n, _d: cell(render.number(view.counts.completed, "muted")),
    "fail%": _failure_rate,
    "in": lambda view, _c, _n, _d: _rate(view.in_rate, view),
    "out": lambda view, _c, _n, _d: _rate(view.out_rate, view),
    "oldest": _oldest,
    "mean": _mean,
    "workers": _workers,
    "limit": _limit,
    "spark": _spark,
}


# --- the overview's active jobs ----------------------------------------------------------------------------------


def active_columns(screen: int) -> tuple[Column, ...]:
    """Queue and job give way first; the bar keeps at least eight columns."""
    queue, name, job_id, step = 13, 17, 10, 12
    fixed = 5 + 6 + 1
    if screen < 72:
        job_id, step = 0, 10
    if screen >= 110:
        queue, name, step = 19, 24, 19
    room = max(8, min(40, screen - fixed - queue - name - job_id - step))
    columns = [Column("queue", "", queue + 1), Column("job", "", name)]
    if job_id:
        columns.append(Column("id", "", job_id))
    columns += [Column("step", "", step), Column("bar", "", room), Column("percent", "", 5, right=True)]
    return (*columns, Column("elapsed", "", 6, right=True))


def active_row(job: Job, columns: Sequence[Column], now: int) -> Row:
    cells: dict[str, Cell] = {
        "queue": ((" ", "plain"), (visible(job.queue), "muted")),
        "job": cell((visible(job.name), "plain")),
        "id": cell((short_id(job.id), "dim")),
        "step": cell((visible(job.step), "muted")),
        "percent": cell((f"{job.progress}%", "plain" if job.progress else "dim")),
        "elapsed": cell((_running_for(job, now), "muted")),
    }
    made = []
    for column in columns:
        if column.key == "bar":
            made.append(render.bar(job.progress, column.columns))
        else:
            made.append(cells[column.key])
    return Row(f"{job.queue}/{job.id}", tuple(made))


def _running_for(job: Job, now: int) -> str:
    return render.elapsed(now - job.processed_on) if job.processed_on is not None else NOTHING


# --- a queue's jobs ----------------------------------------------------------------------------------------------

_TAIL_LABELS = {
    JobState.FAILED: "ERROR",
    JobState.ACTIVE: "PROGRESS",
    JobState.DELAYED: "DUE",
    JobState.COMPLETED: "TOOK",
    JobState.WAITING: "PRIORITY",
    JobState.PAUSED: "PRIORITY",
}


def job_columns(screen: int, state: JobState) -> tuple[Column, ...]:
    name = 17 if screen < 110 else 26
    fixed = (
        Column("mark", "", 3),
        Column("id", "ID", 10),
        Column("job", "JOB", name),
        Column("age", "AGE", 8),
    )
    tries = Column("tries", "TRIES", 6)
    used = sum(column.columns for column in fixed) + tries.columns
    return (*fixed, tries, Column("tail", _TAIL_LABELS[state], max(8, screen - used)))


def job_row(job: Job, columns: Sequence[Column], now: int, *, marked: bool, doing: str = "") -> Row:
    """One job of a page; the last column says what matters in its state."""
    tail = columns[-1].columns
    return Row(
        job.id,
        (
            ((" ", "plain"), ("✓" if marked else " ", "accent")),
            cell((short_id(job.id), "strong" if marked else "plain")),
            cell((visible(job.name), "plain")),
            cell((_job_age(job, now), "muted")),
            cell((f"{job.attempts_made}/{job.retries + 1}", "muted" if job.attempts_made else "dim")),
            cell((doing, "accent")) if doing else _tail(job, tail, now),
        ),
    )


def _job_age(job: Job, now: int) -> str:
    since = job.processed_on if job.state == JobState.ACTIVE else job.finished_on
    return render.age(now - (since or job.timestamp))


def _tail(job: Job, columns: int, now: int) -> Cell:
    match job.state:
        case JobState.FAILED:
            return cell((_one_line(job.error or job.reason), "plain"))
        case JobState.ACTIVE:
            drawn = render.bar(job.progress, min(16, columns // 2))
            return (*drawn, (f"{job.progress:>4}% ", "plain"), (visible(job.step), "muted"))
        case JobState.DELAYED:
            due = f"in {render.age(job.due - now)}" if job.due is not None else NOTHING
            return ((due, "plain"), (f"  {_one_line(job.reason or job.error)}", "muted"))
        case JobState.COMPLETED:
            if job.processed_on is None or job.finished_on is None:
                return cell((NOTHING, "dim"))
            return cell((render.took(job.finished_on - job.processed_on), "muted"))
        case _:
            return ((render.priority_name(job.priority), "muted"), (f"  {_one_line(job.reason)}", "dim"))


def _one_line(text: str) -> str:
    """The first line of a longer text, made visible."""
    return visible(text.strip().split("\n", 1)[0])


def lay(row: Row, columns: Sequence[Column]) -> Line:
    """A row's spans, each cell fitted to its column so that everything below and above stays straight."""
    out: list[Span] = []
    for place, (content, column) in enumerate(zip(row.cells, columns, strict=True)):
        # A right-aligned neighbour brings its own gap.
        last = place + 1 == len(columns)
        gap = 0 if column.right or column.columns < 4 or last or columns[place + 1].right else 1
        out += _fitted(content, column.columns - gap, right=column.right)
        if gap:
            out.append((" " * gap, "plain"))
    return tuple(out)


def _fitted(content: Cell, columns: int, *, right: bool) -> list[Span]:
    used = sum(width(text) for text, _ in content)
    if right:
        room = columns - used
        if room >= 0:
            return [(" " * room, "plain"), *content]
    out: list[Span] = []
    left = columns
    for text, tone in content:
        span = text if width(text) <= left else fit(text, left)
        out.append((span, tone))
        left -= width(span)
    if left > 0:
        out.append((" " * left, "plain"))
    return out

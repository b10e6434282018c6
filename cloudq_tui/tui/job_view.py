"""One job as lines: attempts, error, traceback, payload, options, logs, result, why. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudq_tui.models.job import Attempt, Job, JobState
from cloudq_tui.models.queue import QueueView
from cloudq_tui.tui import render, text, why
from cloudq_tui.tui.options import ViewOptions
from cloudq_tui.tui.render import Line, Span

LABEL = 10
_MAX_LINES = 2000
_LONG_VALUE = 40


@dataclass(frozen=True, slots=True)
class Shown:
    """What the person unfolded. `attempt` is an index into the job's attempts, -1 the last."""

    attempt: int = -1
    traceback: bool = False
    payload: bool = False
    width: int = 80


def title(job: Job, now: int, columns: int, pulse: Line) -> Line:
    mark = render.job_mark(job)
    left: list[Span] = [(f" {text.visible(job.queue)} / ", "muted"), (text.visible(job.name), "strong")]
    left += [(f"  {text.short_id(job.id, 16)}", "muted"), (f"  {mark.glyph} {mark.word}", mark.tone)]
    since = {JobState.ACTIVE: job.processed_on}.get(job.state, job.finished_on or job.timestamp)
    if since is not None:
        left.append((f"  {render.age(now - since)}{'' if job.state == JobState.ACTIVE else ' ago'}", "muted"))
    right: list[Span] = [("  ", "plain"), *pulse, (" ", "plain")]
    room = columns - sum(text.width(part) for part, _ in (*left, *right))
    priority = f"  priority {render.priority_name(job.priority)} "
    if text.width(priority) <= room:
        right.insert(0, (priority, "dim"))
    return render.sides(left, right, columns)


def body(job: Job, view: QueueView | None, now: int, options: ViewOptions, shown: Shown) -> list[Line]:
    """Everything below the title, most wanted first."""
    groups = [
        _why(job, view, now) + _progress(job, shown),
        _attempts(job, options, shown),
        _payload(job, shown) + _result(job),
        _logs(job, options),
        _options(job) + _times(job, options),
    ]
    lines: list[Line] = []
    for group in groups:
        if group and lines:
            lines.append(())
        lines += group
    return lines


def _labelled(label: str, first: list[Span], *rest: Line) -> list[Line]:
    return [((f" {label:<{LABEL - 1}}", "accent"), *first), *rest]


def _why(job: Job, view: QueueView | None, now: int) -> list[Line]:
    return _labelled("WHY", [(why.job(job, view, now), "plain")])


def _progress(job: Job, shown: Shown) -> list[Line]:
    if job.state != JobState.ACTIVE and not job.progress:
        return []
    drawn = render.bar(job.progress, max(10, min(40, shown.width - LABEL - 30)))
    return _labelled("PROGRESS", [*drawn, (f"{job.progress:>4}%  ", "plain"), (text.visible(job.step), "muted")])


def _attempts(job: Job, options: ViewOptions, shown: Shown) -> list[Line]:
    if not job.attempts:
        return _error(job.error) if job.error else []
    chosen = chosen_attempt(job, shown.attempt)
    spans: list[Span] = []
    for detail in (2, 1, 0):
        spans = _strip(job.attempts, chosen, options, detail)
        if sum(text.width(part) for part, _ in spans) <= shown.width - LABEL:
            break
    attempt = job.attempts[chosen]
    lines = _labelled("ATTEMPTS", spans) + _error(attempt.error)
    if attempt.worker:
        lines.append(((f"   on {text.visible(attempt.worker)}", "dim"),))
    return lines + _traceback(attempt.traceback, open_=shown.traceback)


def _strip(attempts: Sequence[Attempt], chosen: int, options: ViewOptions, detail: int) -> list[Span]:
    """The attempts in a row; less detail and fewer of them where there is no room."""
    first = 0 if detail else min(max(0, chosen - 4), max(0, len(attempts) - 9))
    spans: list[Span] = [("… ", "dim")] if first else []
    for index, attempt in list(enumerate(attempts))[first : None if detail else first + 9]:
        here = index == chosen
        spans.append((f"{'▸' if here else ' '}{attempt.number} ", "key" if here else "muted"))
        spans.append(_outcome(attempt))
        if attempt.started is not None and (detail or here):
            spans.append((f" {options.time(attempt.started)}", "strong" if here else "muted"))
            if attempt.finished is not None and (detail == 2 or here):
                spans.append((f" {render.took(attempt.finished - attempt.started)}", "dim"))
        spans.append((" ", "plain"))
    return spans


def chosen_attempt(job: Job, index: int) -> int:
    return index if 0 <= index < len(job.attempts) else len(job.attempts) - 1


def _outcome(attempt: Attempt) -> Span:
    if attempt.outcome in {"completed", "ok"}:
        return ("✓", "good")
    return (
        ("✗", "bad")
        if attempt.outcome in {"error", "failed", "retried"}
        else (f"▲ {text.visible(attempt.outcome)}", "warn")
    )


def _error(error: str) -> list[Line]:
    return [((f" {line}", "bad"),) for line in text.lines(error)[:20]]


def _traceback(traceback: str, *, open_: bool) -> list[Line]:
    """Closed: the last frame, which is where it happened. Open: everything."""
    lines = text.lines(traceback)
    if not lines:
        return []
    if open_:
        shown: list[Line] = [((f"   {line}", "muted"),) for line in lines[:_MAX_LINES]]
        return [*shown, ((" ▾ ", "accent"), ("t closes the traceback", "dim"))]
    frame = next((line.strip() for line in reversed(lines) if line.lstrip().startswith('File "')), "")
    head: list[Line] = [((f"   {_short_frame(frame)}", "plain"),)] if frame else []
    length = render.plural(len(lines), "line")
    more: Line = ((" ▸ ", "accent"), (f"{length} of traceback", "muted"), ("  t open", "dim"))
    return [*head, more]


def _short_frame(frame: str) -> str:
    """`File "/a/b/smtp.py", line 88, in login` as `/a/b/smtp.py:88 in login`."""
    path, _, rest = frame.removeprefix('File "').partition('", line ')
    line, _, function = rest.partition(", in ")
    return f"{path}:{line} in {function}" if line else frame


def _payload(job: Job, shown: Shown) -> list[Line]:
    if job.data is None:
        return _labelled("PAYLOAD", [("none", "dim")])
    if shown.payload:
        return [*_labelled("PAYLOAD", [("v closes", "dim")]), *_document(job.data)]
    if isinstance(job.data, Mapping):
        return _labelled("PAYLOAD", _fields(job.data, shown.width))
    return _labelled("PAYLOAD", [(_short(job.data), "plain")])


def _fields(data: Mapping[Any, Any], columns: int) -> list[Span]:
    spans: list[Span] = []
    room = columns - LABEL - 9
    shortened = False
    for key, value in data.items():
        shown = _short(value)
        name = text.width(text.visible(key)) + 1
        if name + text.width(shown) + 3 > room and room - name - 3 >= 12:
            shown = text.fit(shown, room - name - 3)
        taken = name + text.width(shown) + 3
        if taken > room and spans:
            shortened = True
            break
        shortened = shortened or shown.endswith(("kB", "items", "…"))
        spans += [(f"{text.visible(key)} ", "muted"), (shown, "plain"), ("   ", "plain")]
        room -= taken
    if shortened:
        spans.append(("v all", "dim"))
    return spans or [("empty", "dim")]


def _short(value: object) -> str:
    """A value in a few columns: long ones by their size."""
    if isinstance(value, str):
        if len(value) > 1000:
            return f"{len(value.encode('utf-8', 'replace')) / 1000:.1f} kB"
        shown = text.visible(value)
    elif isinstance(value, list | tuple | Mapping) and len(value) > 3:
        return f"{len(value)} items"
    else:
        shown = text.visible(json.dumps(value, ensure_ascii=False, default=str))
    return shown if text.width(shown) <= _LONG_VALUE else text.fit(shown, _LONG_VALUE)


def _document(value: object) -> list[Line]:
    written = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    lines: list[Line] = [((f"   {line}", "plain"),) for line in text.lines(written)[:_MAX_LINES]]
    return lines


def _result(job: Job) -> list[Line]:
    if job.result is None:
        return []
    compact = json.dumps(job.result, ensure_ascii=False, default=str)
    if len(compact) <= 200:
        return _labelled("RESULT", [(text.visible(compact), "plain")])
    return [*_labelled("RESULT", []), *_document(job.result)]


def _logs(job: Job, options: ViewOptions) -> list[Line]:
    if not job.logs:
        return []
    lines: list[Line] = []
    for entry in job.logs:
        first, *rest = text.lines(entry.text) or [""]
        lines.append(((f"   {options.time(entry.at)}.{entry.at % 1000:03d}  ", "dim"), (first, "plain")))
        lines += [((f"{'':17}{line}", "plain"),) for line in rest]
    return [*_labelled("LOGS", [(render.plural(len(job.logs), "line"), "muted")]), *lines]


def _options(job: Job) -> list[Line]:
    spans: list[Span] = [("retries ", "muted"), (str(job.retries), "plain")]
    if job.stalled:
        spans += [("   stalled ", "muted"), (str(job.stalled), "warn")]
    for key, value in job.options.items():
        if key not in {"retries", "priority"} and value not in ("", {}, []):
            spans += [(f"   {text.visible(key)} ", "muted"), (_option(key, value), "plain")]
    lines = _labelled("OPTIONS", spans)
    if job.checkpoint is not None:
        lines += _labelled("CHECKPOINT", [(" ", "plain"), (_short(job.checkpoint), "plain")])
    return lines


def _option(key: str, value: object) -> str:
    if key in {"delay", "timeout"} and isinstance(value, int | float):
        return render.took(value)
    if isinstance(value, Mapping):
        return " ".join(f"{text.visible(name)}={text.visible(part)}" for name, part in value.items())
    return _short(value)


def _times(job: Job, options: ViewOptions) -> list[Line]:
    spans: list[Span] = [("added ", "muted"), (options.date_time(job.timestamp), "plain")]
    if job.processed_on is not None:
        spans += [("   started ", "muted"), (options.time(job.processed_on), "plain")]
    if job.finished_on is not None:
        spans += [("   ended ", "muted"), (options.time(job.finished_on), "plain")]
    return _labelled("TIMES", spans) + _labelled("ID", [(text.visible(job.id), "muted")])

"""What is asked before something is changed, as data: a title, the facts, and the same act as a shell command.

`until` is the time of day, HH:MM, up to which the act can be taken back.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from cloudq_tui.models.event import AuditEntry
from cloudq_tui.models.queue import Preview, QueueView
from cloudq_tui.tui import durations, render
from cloudq_tui.tui.render import Line, Span
from cloudq_tui.tui.text import fit, visible


@dataclass(frozen=True, slots=True)
class Question:
    """`phrase` set: it must be typed. `verb` is the word on the button that acts, `keep` the one that does not."""

    title: str
    lines: tuple[Line, ...]
    verb: str
    command: str = ""
    phrase: str = ""
    keep: str = "keep"


def _plain(sentence: str) -> Line:
    return ((sentence, "plain"),)


def _undo(until: str, *, one: bool = True) -> str:
    return f"Undo with u until {until}." if one else f"Undo with u, job by job, until {until}."


def _about(preview: Preview, now: int) -> list[Line]:
    """Age range, names and errors of what would be touched."""
    lines: list[Line] = []
    parts: list[str] = []
    if preview.oldest is not None:
        parts.append(f"oldest {render.age(now - preview.oldest)}")
    parts += [f"{render.exact(count)} {visible(name)}" for name, count in preview.names[:3]]
    if parts:
        lines.append(((" · ".join(parts), "muted"),))
    for error, count in preview.errors[:3]:
        spans: list[Span] = [(f"{render.exact(count):>6}x  ", "muted"), (fit(visible(error), 50).rstrip(), "bad")]
        lines.append(tuple(spans))
    if preview.sampled and preview.sampled < preview.count:
        lines.append(((f"counted over the first {render.exact(preview.sampled)}", "dim"),))
    return lines


def _phrase(queue: str, number: int, threshold: int) -> str:
    return queue if number > threshold else ""


def empty(view: QueueView, preview: Preview, now: int, threshold: int, until: str) -> Question:
    """Names waiting, paused and delayed, each with its count."""
    parts = [f"{render.exact(count)} {state}" for state, count in preview.by_state if count]
    if not parts:
        parts = [render.exact(preview.count)]
    what = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    noun, verb = ("job", "leaves") if preview.count == 1 else ("jobs", "leave")
    lines = [_plain(f"{what} {noun} {verb} the queue."), *_about(preview, now)]
    stay = f"{render.plural(view.counts.active, 'active job')} go{'es' if view.counts.active == 1 else ''} on. "
    lines.append(_plain((stay if view.counts.active else "") + _undo(until)))
    return Question(
        title=f"Empty {view.name}",
        lines=tuple(lines),
        verb="empty",
        command=f"cloudq-tui empty {view.name}",
        phrase=_phrase(view.name, preview.count, threshold),
    )


def retry_all(queue: str, preview: Preview, now: int, threshold: int, until: str) -> Question:
    runs = "runs" if preview.count == 1 else "run"
    lines = [_plain(f"{render.plural(preview.count, 'failed job')} of {queue} {runs} again, attempts afresh.")]
    return Question(
        title=f"Retry failed jobs of {queue}",
        lines=(*lines, *_about(preview, now), _plain(_undo(until))),
        verb="retry",
        command=f"cloudq-tui retry {queue} --all",
        phrase=_phrase(queue, preview.count, threshold),
        keep="leave",
    )


def clean(queue: str, preview: Preview, state: str, grace: int, now: int, threshold: int, until: str) -> Question:
    written = durations.text_ms(grace)
    jobs = render.plural(preview.count, f"{state} job")
    leave = "leaves" if preview.count == 1 else "leave"
    sentence = f"{jobs} older than {written} {leave} {queue}."
    if preview.at_most:
        # Kept by place or by due time: how old each is shows only as it is taken.
        sentence = f"Of {jobs}, those older than {written} leave {queue}."
    lines = [
        _plain(sentence),
        *_about(preview, now),
        _plain(_undo(until)),
    ]
    return Question(
        title=f"Clean {queue}",
        lines=tuple(lines),
        verb="clean",
        command=f"cloudq-tui clean {queue} --state {state} --grace {written}",
        phrase=_phrase(queue, preview.count, threshold),
    )


def retry_some(queue: str, ids: list[str]) -> Question:
    return Question(
        title=f"Retry jobs of {queue}",
        lines=(_plain(f"{render.plural(len(ids), 'marked job')} of {queue} run again, attempts afresh."),),
        verb="retry",
        keep="leave",
    )


def remove(queue: str, ids: list[str], threshold: int, until: str) -> Question:
    one = len(ids) == 1
    what = f"Job {visible(ids[0])}" if one else render.plural(len(ids), "marked job")
    return Question(
        title=f"Remove from {queue}",
        lines=(_plain(f"{what} leave{'s' if one else ''} {queue}. {_undo(until, one=one)}"),),
        verb="remove",
        command=f"cloudq-tui remove {queue} {shlex.quote(visible(ids[0]))}" if one else "",
        phrase=_phrase(queue, len(ids), threshold),
    )


def undo(entry: AuditEntry, time: str) -> Question:
    """`time` is when the act was done, HH:MM:SS."""
    return Question(
        title=f"Undo on {visible(entry.queue)}",
        lines=(
            _plain(f"{render.plural(entry.count, 'job')} of the {visible(entry.action)} at {time} go back."),
            (("Jobs that were added again or have started meanwhile are skipped.", "muted"),),
        ),
        verb="undo",
        command="cloudq-tui undo",
        keep="leave",
    )

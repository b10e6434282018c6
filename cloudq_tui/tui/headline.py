"""The overview's first lines: which Redis, what is wrong in words, and the totals. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudq_tui.models.alert import Alert, AlertRule
from cloudq_tui.models.queue import QueueView, Snapshot
from cloudq_tui.tui import render
from cloudq_tui.tui.options import ViewOptions
from cloudq_tui.tui.render import Line, Span
from cloudq_tui.tui.text import visible, width

_WORST_FIRST = (
    AlertRule.SPOILED,
    AlertRule.FAILURE_RATE,
    AlertRule.NO_WORKER,
    AlertRule.OLDEST_WAITING,
    AlertRule.WAITING,
    AlertRule.DURATION,
)


_CALL = re.compile(r"^Error -?\d+ .*?\. (?=\w)")
"""How the client begins a reason, with the address again: `Error 111 connecting to host:6379. `."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """How fresh the screen is. `reason` set: Redis is away and is tried again in `retry_in` seconds; `age` is the
    seconds since the last answer, None before the first."""

    age: float | None = None
    stale: bool = False
    reason: str = ""
    retry_in: int = 0


def live(pulse: Pulse) -> Line:
    if pulse.reason:
        return (("✗ away", "bad"),)
    if pulse.age is None:
        return (("○ connecting", "dim"),)
    if pulse.stale:
        return ((f"○ stale {render.age(pulse.age * 1000)}", "warn"),)
    return (("● live", "good"),)


def away(pulse: Pulse, *, met: bool) -> Line:
    """The banner while Redis cannot be reached; one not `met` yet is named."""
    when = f"retrying in {pulse.retry_in}s" if pulse.retry_in > 0 else "retrying now"
    # Once met, line 1 says which Redis; what is wrong comes last in the error's sentence and must not be cut.
    where, _, what = pulse.reason.partition(" cannot be used: ")
    reason = _CALL.sub("", what or where)
    if what and not met:
        reason = f"{reason}; {where}"
    return (("✗ ", "bad"), (f"Redis away, {when}: ", "bad"), (visible(reason), "plain"))


def status_line(
    snapshot: Snapshot | None, options: ViewOptions, pulse: Pulse, time: str, trip: float, columns: int
) -> Line:
    """Line 1. Its right end (alerts, live, clock) never gives way; the middle drops from the right."""
    left: list[Span] = [(" cloudq ", "strong")]
    if options.badge:
        left += [(f" {visible(options.badge)} ", "badge"), (" ", "plain")]
    if options.read_only:
        left += [("read-only ", "warn")]
    alerts = sum(len(view.alerts) for view in snapshot.queues) if snapshot else 0
    right: list[Span] = []
    if alerts:
        right += [(f"  ▲{alerts} alert{'' if alerts == 1 else 's'}", "warn")]
    right += [("   ", "plain"), *live(pulse), (f"   {time} ", "muted")]
    room = columns - sum(width(text) for text, _ in (*left, *right))
    if snapshot is not None:
        for wordings in _server(snapshot, trip):
            part = next((wording for wording in wordings if width(wording) <= room), "")
            left.append((part, "muted"))
            room -= width(part)
    return render.sides(left, right, columns)


def _server(snapshot: Snapshot, trip: float) -> list[tuple[str, ...]]:
    """What is told about the server, most important first; each in its longest and its shortest wording."""
    redis = snapshot.redis
    used = render.size(redis.used_memory)
    memory = f"{used}/{render.size(redis.max_memory)}" if redis.max_memory else used
    version, address = visible(redis.version), visible(redis.address)
    product = f" redis {version}" if version[:1].isdigit() else f" {version}"
    short = address.split(" (")[0].split("://")[-1]
    return [(product,), (f" {render.round_trip(trip)}",), (f" {memory}",), (f"  {address}", f"  {short}")]


def worst(snapshot: Snapshot) -> tuple[QueueView, Alert] | None:
    """The one thing to look at first."""
    found = [(view, alert) for view in snapshot.queues for alert in view.alerts]
    rank = {rule: place for place, rule in enumerate(_WORST_FIRST)}
    return min(found, key=lambda item: (rank[item[1].rule], -item[0].counts.failed), default=None)


def headline(snapshot: Snapshot | None, selected: str, worker_alive: bool | None, columns: int) -> Line:
    """Line 2: the worst thing in words, with the key that goes there. What does not fit is cut from the words."""
    if snapshot is None:
        return ((" reading the queues…", "dim"),)
    if worker_alive is False:
        return ((" ✗ ", "bad"), ("embedded worker", "strong"), ("  has stopped  ", "plain"), ("l log", "accent"))
    found = worst(snapshot)
    if found is None:
        return ((" ✓ all queues healthy", "good"),)
    view, alert = found
    mark = render.queue_mark(view)
    others = len({queue.name for queue in snapshot.queues if queue.alerts}) - 1
    line: list[Span] = [(f" {mark.glyph} ", mark.tone), (visible(view.name), "strong")]
    line.append((f"  {_without_name(visible(alert.text), view.name)}", "plain"))
    tail: list[Span] = [(f"  +{others} more", "warn")] if others else []
    tail.append(("  ⏎ open" if selected == view.name else "  ! go there", "accent"))
    return (*render.cut(line, columns - sum(width(text) for text, _ in tail)), *tail)


def _without_name(sentence: str, name: str) -> str:
    """The name stands before the sentence already."""
    return sentence.removeprefix(name).lstrip(" :") or sentence


def totals(snapshot: Snapshot | None, columns: int) -> Line:
    """All queues together. What does not fit is dropped from the right."""
    if snapshot is None:
        return ()
    counts = [view.counts for view in snapshot.queues]
    paused = sum(count.paused for count in counts)
    failed = sum(count.failed for count in counts)
    out = sum(view.out_rate for view in snapshot.queues)
    figures: list[tuple[str, Span]] = [
        ("waiting", render.number(sum(count.waiting for count in counts), "strong")),
        ("active", render.number(sum(count.active for count in counts), "strong")),
        ("delayed", render.number(sum(count.delayed for count in counts), "strong")),
        ("failed", render.number(failed, "strong")),
        ("completed", render.number(sum(count.completed for count in counts), "strong")),
        ("workers", (str(len(snapshot.workers)), "strong" if snapshot.workers else "warn")),
        ("out", (f"{render.rate(out)}/s", "strong" if out >= 0.05 else "dim")),
    ]
    if paused:
        figures.insert(1, ("paused", render.number(paused, "strong")))
    line: list[Span] = []
    room = columns - 1
    gap = "   " if columns >= 100 else "  "
    for label, (value, tone) in figures:
        text = f"{label} {value}"
        if width(text) + len(gap) > room:
            break
        line += [(gap if line else " ", "plain"), (f"{label} ", "muted"), (value, tone)]
        room -= width(text) + len(gap)
    return tuple(line)

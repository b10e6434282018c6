"""How numbers, ages, states and bars look. Pure functions from data to text with a tone; no widget, no clock.

A tone is a word (`bad`, `dim`); the theme alone knows its colour. Glyph and tone always go together, so that a
screen without colours says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cloudq_tui.models.alert import AlertRule
from cloudq_tui.models.job import Job, JobPriority, JobState
from cloudq_tui.models.queue import QueueView
from cloudq_tui.tui.text import fit, width

Tone = Literal["plain", "strong", "muted", "dim", "good", "warn", "bad", "accent", "badge", "alarm", "key"]
Span = tuple[str, Tone]
Line = tuple[Span, ...]

NOTHING = "·"
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
_BLOCKS = " ▁▂▃▄▅▆▇█"


def plain(line: Iterable[Span]) -> str:
    """The text of a line without its tones."""
    return "".join(text for text, _ in line)


def count(number: int) -> str:
    """At most four characters: `999`, `1.3k`, `12k`, `1.3M`."""
    value = float(number)
    if value < 1000:
        return str(number)
    for unit in ("k", "M", "G"):
        value /= 1000
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}G"


def exact(number: int) -> str:
    """A number a person is asked about: `12,345`."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    return f"{exact(number)} {noun}{'' if number == 1 else 's'}"


def age(milliseconds: float) -> str:
    """`<1s`, `42s`, `3m 10s`, `2h 05m`, `3d 4h`: steps of 1 s, then 10 s, then 1 min, so that a screen can stand
    still."""
    ms = max(0, int(milliseconds))
    if ms < SECOND:
        return "<1s"
    if ms < MINUTE:
        return f"{ms // SECOND}s"
    if ms < HOUR:
        return f"{ms // MINUTE}m {ms % MINUTE // (10 * SECOND) * 10:02d}s"
    if ms < DAY:
        return f"{ms // HOUR}h {ms % HOUR // MINUTE:02d}m"
    return f"{ms // DAY}d {ms % DAY // HOUR}h"


def countdown(milliseconds: float) -> str:
    """Time left, in at most nine characters: `in 9m 50s`, `in 17m`, `in 2h 05m`."""
    for unit, next_unit, letter in ((MINUTE, HOUR, "m"), (HOUR, DAY, "h"), (DAY, 10_000 * DAY, "d")):
        if 10 * unit <= milliseconds < next_unit:
            return f"in {int(milliseconds) // unit}{letter}"
    return f"in {age(milliseconds)}"


def elapsed(milliseconds: float) -> str:
    """A running clock, `0:42`, in the same steps as an age."""
    ms = max(0, int(milliseconds))
    seconds = ms // SECOND
    if ms >= HOUR:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    if ms >= MINUTE:
        seconds -= seconds % 10
    return f"{seconds // 60}:{seconds % 60:02d}"


def took(milliseconds: float) -> str:
    """How long something took, now that it is over: `12ms`, `0.4s`, then as an age."""
    if milliseconds < 100:
        return f"{max(0, int(milliseconds))}ms"
    return f"{milliseconds / 1000:.1f}s" if milliseconds < 10_000 else age(milliseconds)


def rate(per_second: float) -> str:
    """Jobs per second in at most five characters."""
    return f"{per_second:.1f}" if per_second < 999.95 else count(round(per_second))


def size(octets: int) -> str:
    """Memory in at most four characters: `412M`, `2.0G`."""
    value = float(octets)
    for unit in ("B", "K", "M", "G"):
        if value < 9.95 and unit != "B":
            return f"{value:.1f}{unit}"
        if value < 1023.5:
            return f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def steady(shown: float, measured: float) -> float:
    """The round trip to show: it follows only when it moved by half, so that the header stands still."""
    return shown if shown and abs(measured - shown) < max(0.2, shown / 2) else measured


def round_trip(milliseconds: float) -> str:
    return f"{milliseconds:.1f}ms" if milliseconds < 9.95 else f"{milliseconds:.0f}ms"


def sparkline(history: Sequence[int], columns: int) -> str:
    """Finishes over time, oldest first; more slots than columns are spread evenly over them."""
    slots = list(history)
    if not any(slots):
        return " " * columns
    if len(slots) > columns:
        slots = [round(part) for part in _spread(slots, columns)]
    # A steady flow fills about half the height, so that a burst stands out.
    top = max(4, *slots, round(1.7 * sum(slots) / len(slots)))
    drawn = "".join(_BLOCKS[-(-slot * 8 // top)] for slot in slots)
    return drawn.rjust(columns)


def _spread(slots: Sequence[int], columns: int) -> list[float]:
    """Averages over `columns` equal parts of the time line."""
    part = len(slots) / columns
    out = []
    for column in range(columns):
        begin, end = column * part, (column + 1) * part
        total = 0.0
        for index in range(int(begin), min(len(slots), int(end) + 1)):
            total += slots[index] * max(0.0, min(end, index + 1) - max(begin, index))
        out.append(total / part)
    return out


def bar(percent: float, columns: int) -> Line:
    """A progress bar in half-column steps."""
    if columns <= 0:
        return ()
    halves = round(min(100.0, max(0.0, percent)) / 100 * columns * 2)
    done = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return ((done, "accent"), ("─" * (columns - len(done)), "dim"))


def sides(left: Iterable[Span], right: Iterable[Span], columns: int) -> Line:
    """One line with a left and a right end. What does not fit is cut from the left part: the right end is the one
    the eye looks for."""
    tail = tuple(right)
    room = columns - sum(width(text) for text, _ in tail)
    head = cut(left, room)
    room -= sum(width(text) for text, _ in head)
    return (*head, (" " * max(0, room), "plain"), *tail)


def cut(line: Iterable[Span], columns: int) -> Line:
    """As much of a line as fits, with an ellipsis where it ends early."""
    kept: list[Span] = []
    for text, tone in line:
        if width(text) > columns:
            return (*kept, (fit(text, columns), tone))
        kept.append((text, tone))
        columns -= width(text)
    return tuple(kept)


def number(value: int, tone: Tone = "plain") -> Span:
    """A count in a table; zero is dim."""
    return (count(value), tone if value else "dim")


@dataclass(frozen=True, slots=True)
class Mark:
    """A state as the eye finds it: glyph, tone and word."""

    glyph: str
    tone: Tone
    word: str


HEALTHY = Mark("●", "good", "healthy")
WARNING = Mark("▲", "warn", "warning")
FAILING = Mark("✗", "bad", "failing")
PAUSED = Mark("‖", "accent", "paused")
NO_WORKER = Mark("◌", "warn", "no worker")
IDLE = Mark("◌", "dim", "no worker")

JOB_MARKS = {
    JobState.WAITING: Mark("○", "muted", "waiting"),
    JobState.ACTIVE: Mark("▸", "accent", "active"),
    JobState.COMPLETED: Mark("✓", "good", "completed"),
    JobState.FAILED: Mark("✗", "bad", "failed"),
    JobState.DELAYED: Mark("◔", "muted", "delayed"),
    JobState.PAUSED: PAUSED,
}


def queue_mark(view: QueueView) -> Mark:
    """The one mark of a queue. A pause stands first: it is a person's decision and explains the rest."""
    rules = {alert.rule for alert in view.alerts}
    if view.pause is not None:
        return PAUSED
    if rules & {AlertRule.SPOILED, AlertRule.FAILURE_RATE}:
        return FAILING
    if AlertRule.NO_WORKER in rules:
        return NO_WORKER
    if rules:
        return WARNING
    return HEALTHY if view.workers else IDLE


def job_mark(job: Job) -> Mark:
    return JOB_MARKS[job.state]


def priority_name(rank: int) -> str:
    """`5 NORMAL`, or the bare number of a rank without a name."""
    return f"{rank} {JobPriority(rank).name}" if rank in list(JobPriority) else str(rank)

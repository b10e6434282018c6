"""Counts lines in memory that does not grow with their number: levels, messages, lines per minute."""

from __future__ import annotations

import functools
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from tasks.logs.formats import LEVELS, Line

_LONGEST_MESSAGE = 300
_MOST_MESSAGES = 10_000
_MOST_BUCKETS = 50_000
_MOST_POINTS = 240
_MOST_STATUSES = 100
_SEVERE = frozenset({"critical", "error"})

# The order decides: what a longer kind holds must not be taken apart by a shorter one.
_KINDS = {
    "quoted": r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)",
    "url": r"\b[a-z][a-z0-9+.-]{1,9}://[^\s\"'<>]+",
    "email": r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
    "uuid": r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",
    "ip": r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?|\b[0-9a-fA-F]{1,4}(?:::?[0-9a-fA-F]{1,4}){3,7}\b",
    "hex": r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b",
    "number": r"[+-]?\d+(?:[.,:]\d+)*",
}
_DIGITS = re.compile(r"\d")
_STANDS_FOR = {
    "quoted": '"*"',
    "url": "<url>",
    "email": "<email>",
    "uuid": "<uuid>",
    "ip": "<ip>",
    "hex": "<hex>",
    "number": "#",
}


def signature(message: str) -> str:
    """The message with its variable parts taken out, so that the same event counts as one and names nobody."""
    short = " ".join(message[:_LONGEST_MESSAGE].split())
    variable = _variable(
        '"' in short or "'" in short, "://" in short, "@" in short, "-" in short, _DIGITS.search(short) is not None
    )
    return short if variable is None else variable.sub(_stand_in, short)


@functools.cache
def _variable(quotes: bool, scheme: bool, at: bool, dash: bool, digits: bool) -> re.Pattern[str] | None:
    """Only the kinds that a message can hold: those that it cannot cost most of the time."""
    possible = {"quoted": quotes, "url": scheme, "email": at, "uuid": dash and digits}
    kinds = [f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items() if possible.get(kind, digits)]
    return re.compile("|".join(kinds)) if kinds else None


def _stand_in(found: re.Match[str]) -> str:
    return _STANDS_FOR[found.lastgroup or "number"]


class Messages:
    """The most frequent messages of any number of kinds.

    When there are too many kinds the rarer half is forgotten; a message that comes again then starts afresh, so
    that its count may be too low, by at most `low_by`.
    """

    def __init__(self, most: int = _MOST_MESSAGES) -> None:
        self._most = most
        self._counts: dict[tuple[str, str], int] = {}
        self.low_by = 0

    def add(self, level: str, message: str) -> None:
        key = (level, message)
        self._counts[key] = self._counts.get(key, 0) + 1
        if len(self._counts) > self._most:
            self._forget()

    def top(self, count: int) -> list[dict[str, Any]]:
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [{"message": message, "level": level, "count": n} for (level, message), n in ranked[:count]]

    def _forget(self) -> None:
        ranked = sorted(self._counts.items(), key=lambda item: -item[1])
        half = self._most // 2
        self.low_by += ranked[half][1]
        self._counts = dict(ranked[:half])


class Rate:
    """Lines per minute; over a span with too many minutes, per 2, 4, 8, ... minutes."""

    def __init__(self, most: int = _MOST_BUCKETS) -> None:
        self._most = most
        self._buckets: dict[int, list[int]] = {}
        self.width = 1

    def add(self, minute: int, severe: bool) -> None:
        at = minute // self.width
        bucket = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = [1, int(severe)]
            while len(self._buckets) > self._most:
                self.width *= 2
                self._buckets = _halved(self._buckets)
            return
        bucket[0] += 1
        bucket[1] += severe

    def plain(self) -> dict[str, Any] | None:
        """None without a single time. `series` is [time, lines, errors], as wide as it must be to stay short."""
        if not self._buckets:
            return None
        first, last = min(self._buckets), max(self._buckets)
        total = sum(count for count, _ in self._buckets.values())
        busiest = min(self._buckets, key=lambda at: (-self._buckets[at][0], at))
        width, shown = self.width, self._buckets
        while len(shown) > _MOST_POINTS:
            width, shown = width * 2, _halved(shown)
        return {
            "first": _iso(first * self.width),
            "last": _iso(last * self.width),
            "perMinute": round(total / ((last - first + 1) * self.width), 3),
            "peak": {
                "at": _iso(busiest * self.width),
                "lines": self._buckets[busiest][0],
                "minutes": self.width,
            },
            "seriesMinutes": width,
            "series": [[_iso(at * width), *shown[at]] for at in sorted(shown)],
        }


class Statistics:
    """All that analyze-logs counts."""

    def __init__(self) -> None:
        self.lines = 0
        self.continued = 0
        self.not_parsed = 0
        self._levels: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self.messages = Messages()
        self.rate = Rate()

    def add(self, line: Line) -> None:
        self.lines += 1
        if not line.parsed:
            self.not_parsed += 1
            return
        if line.message is None:
            self.continued += 1
            return
        self._levels[line.level] += 1
        if line.status and (line.status in self._statuses or len(self._statuses) < _MOST_STATUSES):
            self._statuses[line.status] += 1
        self.messages.add(line.level, signature(line.message))
        if line.minute is not None:
            self.rate.add(line.minute, line.level in _SEVERE)

    def plain(self, top: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "lines": self.lines,
            "continued": self.continued,
            "notParsed": self.not_parsed,
            "levels": {level: self._levels[level] for level in LEVELS if self._levels[level]},
            "topMessages": self.messages.top(top),
            "countsLowBy": self.messages.low_by,
            "rate": self.rate.plain(),
        }
        return found | ({"statuses": dict(sorted(self._statuses.items()))} if self._statuses else {})


def _halved(buckets: dict[int, list[int]]) -> dict[int, list[int]]:
    wider: dict[int, list[int]] = {}
    for at, (count, severe) in buckets.items():
        bucket = wider.setdefault(at // 2, [0, 0])
        bucket[0] += count
        bucket[1] += severe
    return wider


def _iso(minute: int) -> str:
    try:
        return datetime.fromtimestamp(minute * 60, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return f"minute {minute}"

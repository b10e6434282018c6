"""Reads lines: when, how severe, and what. One parser per format; every pattern takes linear time on any line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

LEVELS = ("critical", "error", "warning", "notice", "info", "debug", "trace", "unknown")
UNKNOWN = "unknown"

_NAMES = {
    **dict.fromkeys(("critical", "crit", "fatal", "emerg", "emergency", "alert", "panic", "severe"), "critical"),
    **dict.fromkeys(("error", "err"), "error"),
    **dict.fromkeys(("warning", "warn"), "warning"),
    "notice": "notice",
    **dict.fromkeys(("info", "information", "informational"), "info"),
    **dict.fromkeys(("debug", "fine"), "debug"),
    **dict.fromkeys(("trace", "finest", "verbose"), "trace"),
}
_UPPER = "TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|EMERG(?:ENCY)?|ALERT|PANIC|SEVERE"
_LEVEL = re.compile(rf"\b(?:{_UPPER})\b|(?<=[\[<:])(?i:{_UPPER})(?=[\]>])|\b(?:level|severity|lvl)=\"?(\w+)\"?")
_LEVEL_WITHIN = 160  # characters in which a line names its level
_STAMP = re.compile(
    r"[\[<]?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d)(?::\d\d(?:[.,]\d{1,9})?)? ?(Z|[+-]\d\d:?\d\d)?[\]>]?\s*"
)
_APACHE = re.compile(  # its error log
    r"\[[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):\d\d(?:\.\d{1,9})? (\d{4})\]\s*"
)
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):\d\d \S{1,255} ([^\s:\[]{1,64})(?:\[\d{1,10}\])?: ")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_COMBINED = re.compile(
    r"(?:\S{1,255}:\d{1,5} )?[0-9A-Fa-f.:\-\w]{1,255} \S{1,255} \S{1,255} "
    r"\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):\d\d ([+-]\d{4})\] "
    r'"((?:[^"\\]|\\.)*)" (\d{3}) (?:\d+|-)'
)
_REQUEST = re.compile(r"([A-Z]{1,20}) ([^ ?#]{1,2000})[^ ]*(?: HTTP/[\d.]{1,4})?$")
_MOST_MINUTES_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `minute` counts from the epoch; `message` None continues the line before (a traceback)."""

    minute: int | None
    level: str
    message: str | None
    status: str = ""
    parsed: bool = True


Parser = Callable[[str], Line]
_NOT_PARSED = Line(None, UNKNOWN, None, parsed=False)


class Clock:
    """Minutes since the epoch from the parts of a date; remembers the latest, since neighbours share a minute."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._known: dict[tuple[str, ...], int | None] = {}

    def minute(self, year: str, month: str, day: str, hour: str, minute: str, zone: str = "") -> int | None:
        """None for what is no date. Without a zone it is the platform's."""
        key = (year, month, day, hour, minute, zone)
        if key not in self._known:
            if len(self._known) >= _MOST_MINUTES_KNOWN:
                self._known.clear()
            self._known[key] = self._computed(key)
        return self._known[key]

    def of(self, at: datetime) -> int | None:
        try:
            return int((at if at.tzinfo else at.replace(tzinfo=self._zone)).timestamp() // 60)
        except (ValueError, OverflowError):
            return None

    def _computed(self, key: tuple[str, ...]) -> int | None:
        year, month, day, hour, minute, zone = key
        try:
            at = datetime(int(year), int(month), int(day), int(hour), int(minute), tzinfo=self._zone_of(zone))
        except ValueError:
            return None
        return self.of(at)

    def _zone_of(self, text: str) -> tzinfo:
        if not text:
            return self._zone
        if text == "Z":
            return UTC
        offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
        return timezone(-offset if text[0] == "-" else offset)


def level_named(text: object) -> str:
    """The platform's word for a level; numbers are those of pino and Python's logging."""
    if isinstance(text, str):
        return _NAMES.get(text.lower(), UNKNOWN)
    if isinstance(text, int) and not isinstance(text, bool) and 0 < text <= 60:
        # pino counts 10, 20, ... 60 from trace; Python's logging knows no 60, and calls 10 debug.
        return ("trace", "debug", "info", "warning", "error", "critical")[min(5, (text - 1) // 10)]
    return UNKNOWN


class TextLines:
    """Plain text: a time and a level where they can be found."""

    def __init__(self, clock: Clock, year: int) -> None:
        self._clock = clock
        self._year = str(year)  # syslog's lines have none
        self._stamped = False

    def __call__(self, line: str) -> Line:
        stamp = _STAMP.match(line)
        if stamp is not None:
            self._stamped = True
            year, month, day, hour, minute, zone = stamp.groups("")
            return self._rest(self._clock.minute(year, month, day, hour, minute, zone), line[stamp.end() :])
        apache = _APACHE.match(line)
        if apache is not None and apache[1] in _MONTHS:
            self._stamped = True
            return self._rest(self._minute(apache, apache[5]), line[apache.end() :])
        syslog = _SYSLOG.match(line)
        if syslog is not None and syslog[1] in _MONTHS:
            self._stamped = True
            return self._rest(self._minute(syslog, self._year), f"{syslog[5]}: {line[syslog.end() :]}")
        if self._stamped or line[:1] in {" ", "\t"}:
            return Line(None, UNKNOWN, None)
        return self._rest(None, line)

    def _minute(self, found: re.Match[str], year: str) -> int | None:
        """Of a match that begins with month, day, hour and minute."""
        month, day, hour, minute = found.group(1, 2, 3, 4)
        return self._clock.minute(year, str(_MONTHS[month]), day.strip(), hour, minute)

    @staticmethod
    def _rest(minute: int | None, text: str) -> Line:
        found = _LEVEL.search(text, 0, _LEVEL_WITHIN)
        if found is None:
            return Line(minute, UNKNOWN, text)
        if found[1] is not None:
            return Line(minute, level_named(found[1]), text[: found.start()] + text[found.end() :].lstrip())
        after = text[found.end() :].lstrip(" \t]>:|-,")
        return Line(minute, level_named(found[0]), after or text)


class JsonLines:
    """One JSON object per line."""

    _TIMES = ("timestamp", "@timestamp", "time", "ts", "datetime", "date")
    _LEVELS = ("level", "severity", "levelname", "lvl", "log.level", "loglevel")
    _MESSAGES = ("message", "msg", "event", "log", "body", "error")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, line: str) -> Line:
        record = json_object(line)
        if record is None:
            return _NOT_PARSED
        message = _first(record, self._MESSAGES)
        text = message if isinstance(message, str) else json.dumps(message)[:500] if message is not None else ""
        return Line(
            self._minute(_first(record, self._TIMES)), level_named(_first(record, self._LEVELS)), text or "(no message)"
        )

    def _minute(self, value: object) -> int | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value > 100_000_000_000 else value
            return int(seconds // 60) if 0 < seconds < 253_402_300_800 else None
        if not isinstance(value, str):
            return None
        stamp = _STAMP.match(value)
        return None if stamp is None else self._clock.minute(*stamp.groups(""))


class CombinedLines:
    """What nginx and Apache call combined (or common): the status makes the level."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, line: str) -> Line:
        found = _COMBINED.match(line)
        if found is None or found[2] not in _MONTHS:
            return _NOT_PARSED
        day, month, year, hour, minute, zone, request, status = found.groups()
        level = "error" if status >= "500" else "warning" if status >= "400" else "info"
        at = self._clock.minute(year, str(_MONTHS[month]), day, hour, minute, zone)
        asked = _REQUEST.match(request)
        what = "(no HTTP request)" if asked is None else f"{asked[1]} {asked[2]}"
        return Line(at, level, f"{what} {status}", status)


def json_object(line: str) -> dict[str, Any] | None:
    """None for what is no object; depth and long numbers of a hostile line raise nothing."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def recognised(sample: Sequence[str]) -> str:
    """The format of a file's first lines: what at least half of them are, else text."""
    lines = [line for line in sample if line.strip()]
    if not lines:
        return "text"
    if sum(_COMBINED.match(line) is not None for line in lines) * 2 >= len(lines):
        return "combined"
    if sum(json_object(line) is not None for line in lines) * 2 >= len(lines):
        return "json"
    return "text"


def parser_for(name: str, clock: Clock, year: int) -> Parser:
    """`year` is that of the file, for lines that name none."""
    if name == "json":
        return JsonLines(clock)
    return CombinedLines(clock) if name == "combined" else TextLines(clock, year)


def _first(record: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((record[key] for key in keys if record.get(key) is not None), None)

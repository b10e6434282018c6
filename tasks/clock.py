"""Times of the wall clock, as cron has them, on days that are an hour shorter or longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

Due = Callable[[datetime], bool]

_MINUTE = timedelta(minutes=1)


def local_cron(text: str, zone: tzinfo) -> Due:
    """Whether the five fields of `text` (minute, hour, day, month, weekday from Sunday, 0) name a local time of `zone`.

    What the clock skips in spring is due with the first minute after, and what it shows twice in autumn once.
    Raises ValueError for what is no such text.
    """
    named = read_cron(text)

    def due(now: datetime) -> bool:
        if now.fold:
            return False
        last = (now.replace(tzinfo=zone).astimezone(UTC) - _MINUTE).astimezone(zone).replace(tzinfo=None, fold=0)
        skipped = (now - last) // _MINUTE - 1
        return any(named(now - back * _MINUTE) for back in range(max(0, skipped) + 1))

    return due


def read_cron(text: str) -> Due:
    """The same without a zone. Raises ValueError."""
    from huey import crontab  # noqa: PLC0415 - producers read the settings without Huey

    fields = text.split()
    if len(fields) != 5:
        raise ValueError("must be five fields: minute, hour, day, month, weekday")
    named: Due = crontab(*fields, strict=True)
    return named

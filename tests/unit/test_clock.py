"""Cron's times on days when the clock is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tasks.clock import local_cron


def minutes_of(first: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """What the clock of `zone` shows in each minute of three days."""
    for number in range(3 * 24 * 60):
        yield (first + timedelta(minutes=number)).astimezone(zone).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("name", "first", "expected"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC), ["28 02:00", "29 03:00", "30 02:00"]),
        ("Europe/Berlin", datetime(2026, 10, 23, 22, tzinfo=UTC), ["24 02:00", "25 02:00", "26 02:00"]),
        ("America/New_York", datetime(2026, 3, 7, 5, tzinfo=UTC), ["07 02:00", "08 03:00", "09 02:00"]),
        ("Australia/Lord_Howe", datetime(2026, 10, 2, 15, tzinfo=UTC), ["03 02:00", "04 02:30", "05 02:00"]),
        ("Asia/Shanghai", datetime(2026, 3, 28, tzinfo=UTC), ["29 02:00", "30 02:00", "31 02:00"]),
    ],
)
def test_two_at_night_comes_once_a_day(name: str, first: datetime, expected: list[str]) -> None:
    due = local_cron("0 2 * * *", ZoneInfo(name))
    assert [f"{now:%d %H:%M}" for now in minutes_of(first, ZoneInfo(name)) if due(now)] == expected


def test_other_times_are_crons() -> None:
    due = local_cron("*/30 8 * * 1", ZoneInfo("Europe/Berlin"))
    found = [now for now in minutes_of(datetime(2026, 6, 6, tzinfo=UTC), ZoneInfo("Europe/Berlin")) if due(now)]
    assert [f"{now:%a %H:%M}" for now in found] == ["Mon 08:00", "Mon 08:30"]


@pytest.mark.parametrize("text", ["", "0 2 * *", "61 * * * *", "0 2 * * * *", "x 2 * * *"])
def test_what_is_no_cron_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"five fields|not a valid"):
        local_cron(text, UTC)

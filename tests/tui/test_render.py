"""Numbers, ages and bars: plain functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from cloudq_tui.models.alert import Alert, AlertRule
from cloudq_tui.models.queue import Pause, QueueCounts, QueueView
from cloudq_tui.tui import durations, render
from cloudq_tui.tui.text import width


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (1250, "1.2k"),
        (9949, "9.9k"),
        (9999, "10k"),
        (123_456, "123k"),
        (999_499, "999k"),
        (999_999, "1.0M"),
        (7_000_000, "7.0M"),
        (12_345_678_901, "12G"),
    ],
)
def test_counts_take_four_columns(number: int, shown: str) -> None:
    assert render.count(number) == shown
    assert len(shown) <= 4


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (-5, "<1s"),
        (999, "<1s"),
        (1000, "1s"),
        (59_999, "59s"),
        (60_000, "1m 00s"),
        (192_000, "3m 10s"),
        (199_999, "3m 10s"),
        (3_600_000, "1h 00m"),
        (7_530_000, "2h 05m"),
        (86_400_000 * 3 + 3_600_000 * 4, "3d 4h"),
    ],
)
def test_ages_move_in_steps(milliseconds: int, shown: str) -> None:
    assert render.age(milliseconds) == shown


def test_countdowns_fit_the_column() -> None:
    assert render.countdown(1_040_000) == "in 17m"
    assert render.countdown(590_000) == "in 9m 50s"
    assert all(len(render.countdown(ms)) <= 9 for ms in range(0, 90_000_000, 7_000))


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(900, "0:00"), (48_900, "0:48"), (75_000, "1:10"), (3_900_000, "1h05m")]
)
def test_elapsed(milliseconds: int, shown: str) -> None:
    assert render.elapsed(milliseconds) == shown


def test_memory_and_durations() -> None:
    assert render.size(412 * 1024**2) == "412M"
    assert render.size(2 * 1024**3) == "2.0G"
    assert render.size(0) == "0B"
    assert render.took(12) == "12ms"
    assert render.took(412) == "0.4s"
    assert render.took(63_000) == "1m 00s"


def test_the_round_trip_stands_still_until_it_moves_by_half() -> None:
    assert render.steady(0.0, 0.3) == 0.3
    assert render.steady(0.3, 0.4) == 0.3
    assert render.steady(0.3, 0.6) == 0.6
    assert render.steady(20.0, 28.0) == 20.0


def test_a_sparkline_has_its_width_and_shows_bursts() -> None:
    assert render.sparkline((), 8) == " " * 8
    assert render.sparkline((0,) * 12, 8) == " " * 8
    assert len(render.sparkline(tuple(range(12)), 8)) == 8
    assert render.sparkline((0, 0, 0, 40), 8).endswith("   █")
    assert "█" not in render.sparkline((40,) * 12, 12)


@pytest.mark.parametrize("percent", [-5, 0, 1, 33, 50, 99.9, 100, 250])
def test_a_bar_has_its_width(percent: float) -> None:
    assert width(render.plain(render.bar(percent, 18))) == 18


def test_a_full_bar_is_full_and_an_empty_one_empty() -> None:
    assert render.plain(render.bar(100, 4)) == "━━━━"
    assert render.plain(render.bar(0, 4)) == "────"
    assert render.plain(render.bar(62, 4)) == "━━╸─"


def test_sides_keep_the_right_end() -> None:
    line = render.sides([("a long left end", "plain")], [("right", "good")], 12)
    assert render.plain(line) == "a long…right"
    assert render.plain(render.sides([("l", "plain")], [("r", "good")], 5)) == "l   r"


def _view(*rules: AlertRule, pause: Pause | None = None, workers: int = 1) -> QueueView:
    alerts = tuple(Alert("email", rule, "text") for rule in rules)
    return QueueView("email", QueueCounts(), pause=pause, workers=workers, alerts=alerts)


def test_marks_say_the_worst_first_and_a_pause_before_all() -> None:
    assert render.queue_mark(_view()) is render.HEALTHY
    assert render.queue_mark(_view(workers=0)) is render.IDLE
    assert render.queue_mark(_view(AlertRule.WAITING)) is render.WARNING
    assert render.queue_mark(_view(AlertRule.NO_WORKER, workers=0)) is render.NO_WORKER
    assert render.queue_mark(_view(AlertRule.WAITING, AlertRule.FAILURE_RATE)) is render.FAILING
    assert render.queue_mark(_view(AlertRule.SPOILED)) is render.FAILING
    failing = _view(AlertRule.FAILURE_RATE)
    assert render.queue_mark(replace(failing, pause=Pause("ops1", "", 0))) is render.PAUSED


def test_priorities_have_names() -> None:
    assert render.priority_name(5) == "5 NORMAL"
    assert render.priority_name(-3) == "-3"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("15m", timedelta(minutes=15)), ("1d 12h", timedelta(hours=36)), ("90", timedelta(seconds=90))],
)
def test_durations_as_typed(typed: str, meant: timedelta) -> None:
    assert durations.parse(typed) == meant


@pytest.mark.parametrize("typed", ["", "soon", "15 parsecs", "-5m", "99999d", "²m"])
def test_other_durations_are_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        durations.parse(typed)


@pytest.mark.parametrize(
    ("duration", "written"),
    [
        (timedelta(hours=24), "24h"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=7), "7d"),
        (timedelta(0), "0s"),
    ],
)
def test_durations_as_written(duration: timedelta, written: str) -> None:
    assert durations.text(duration) == written
    assert durations.parse(written) == duration

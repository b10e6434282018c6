"""Which rule holds when."""

from __future__ import annotations

from typing import Any

import pytest

from cloudq_tui.models.alert import AlertRule
from cloudq_tui.models.queue import Pause, QueueCounts, QueueView
from cloudq_tui.services.alerts import queue_alerts
from cloudq_tui.settings import Settings

NOW = 1_764_000_000_000


def rules(name: str = "email", settings: dict[str, Any] | None = None, **view: Any) -> list[AlertRule]:
    view.setdefault("counts", QueueCounts())
    view.setdefault("workers", 1)
    return [alert.rule for alert in queue_alerts(QueueView(name=name, **view), Settings(**(settings or {})), now=NOW)]


def test_a_quiet_queue_raises_nothing() -> None:
    assert rules(workers=0) == []


@pytest.mark.parametrize(("waiting", "expected"), [(1000, []), (1001, [AlertRule.WAITING])])
def test_waiting(waiting: int, expected: list[AlertRule]) -> None:
    assert rules(counts=QueueCounts(waiting=waiting)) == expected


@pytest.mark.parametrize(
    ("rate", "finishes", "expected"),
    [(0.05, 100, []), (0.06, 100, [AlertRule.FAILURE_RATE]), (0.9, 19, []), (None, 100, [])],
)
def test_failure_rate(rate: float | None, finishes: int, expected: list[AlertRule]) -> None:
    assert rules(failure_rate=rate, finishes=finishes) == expected


@pytest.mark.parametrize(
    ("name", "mean", "expected"),
    [
        ("email", 10_000.0, []),
        ("sms", 10_001.0, [AlertRule.DURATION]),
        ("data-export", 600_000.0, []),
        ("email", None, []),
    ],
)
def test_duration_is_for_queues_that_are_meant_to_be_quick(
    name: str, mean: float | None, expected: list[AlertRule]
) -> None:
    assert rules(name, mean_duration=mean) == expected


def test_a_queue_may_have_a_duration_rule_of_its_own() -> None:
    own = {"queues": {"data-export": {"alerts": {"duration_ms": 1000}}}}
    assert rules("data-export", own, mean_duration=1001.0) == [AlertRule.DURATION]


@pytest.mark.parametrize(("age", "expected"), [(60, []), (61, [AlertRule.OLDEST_WAITING])])
def test_oldest_waiting(age: int, expected: list[AlertRule]) -> None:
    assert rules(counts=QueueCounts(waiting=1), oldest_waiting=NOW - age * 1000) == expected


@pytest.mark.parametrize("state", ["waiting", "active", "delayed"])
def test_jobs_without_a_live_worker(state: str) -> None:
    assert rules(counts=QueueCounts(**{state: 1}), workers=0) == [AlertRule.NO_WORKER]


def test_a_paused_queue_is_not_blamed_for_waiting() -> None:
    pause = Pause("ops1", "provider down", NOW)
    counts = QueueCounts(paused=5000)
    assert rules(counts=counts, pause=pause, oldest_waiting=NOW - 3_600_000, workers=0) == []
    assert rules(counts=counts, pause=pause, failure_rate=0.5, finishes=50) == [AlertRule.FAILURE_RATE]


def test_alerts_can_be_switched_off_whole_and_per_queue() -> None:
    many = QueueCounts(waiting=5000)
    assert rules(settings={"alerts": {"enabled": False}}, counts=many) == []
    assert rules(settings={"queues": {"email": {"alerts": {"enabled": False}}}}, counts=many) == []
    assert rules("sms", {"queues": {"email": {"alerts": {"enabled": False}}}}, counts=many) == [AlertRule.WAITING]


def test_a_queue_without_settings_follows_the_general_ones() -> None:
    assert rules("found-in-redis", counts=QueueCounts(waiting=1001)) == [AlertRule.WAITING]


def test_the_sentence_names_value_and_limit() -> None:
    view = QueueView("email", QueueCounts(waiting=1342), oldest_waiting=NOW - 192_000, workers=0)
    assert [alert.text for alert in queue_alerts(view, Settings(), now=NOW)] == [
        "no live worker for 1,342 jobs",
        "the oldest job has waited 3m 12s (limit 1m 00s)",
        "1,342 jobs wait (limit 1,000)",
    ]

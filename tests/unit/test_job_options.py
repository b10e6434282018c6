"""The options of a job: what they accept, and one clear line for what they do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cloudq_tui.errors import InvalidOptions
from cloudq_tui.models.job import Backoff, JobOptions, JobPriority


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"priority": "BOGUS"}, "options.priority: must be CRITICAL, HIGH, NORMAL, LOW, BACKGROUND, or a number"),
        ({"priority": 1001}, "options.priority: input should be less than or equal to 1000"),
        ({"delay": -1}, "options.delay: must not be negative"),
        ({"delay": timedelta.max}, "options.delay: must be ten years at most"),
        ({"retries": -1}, "options.retries: input should be greater than or equal to 0"),
        ({"job_id": "a b"}, "options.job_id: string should match pattern '^[A-Za-z0-9_.:@-]+$'"),
        ({"backoff": {"type": "linear"}}, "options.backoff.type: input should be 'exponential' or 'fixed'"),
        ({"backoff": {"factor": float("inf")}}, "options.backoff.factor: input should be a finite number"),
        ({"remove_on_fail": {"age": -1}}, "options.remove_on_fail.age: input should be greater than or equal to 0"),
        ({"priority": True}, "options.priority: must not be true or false"),
        ({"delay": False}, "options.delay: must not be true or false"),
        ({"bogus": 1}, "options.bogus: unknown option"),
    ],
)
def test_a_wrong_option_is_one_line_of_our_own(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        JobOptions(**given)
    assert str(refused.value) == said


@pytest.mark.parametrize("value", [1e300, 10**400, float("nan"), float("inf")], ids=["far", "huge", "nan", "inf"])
@pytest.mark.parametrize("name", ["delay", "timeout"])
def test_milliseconds_that_are_no_time_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidOptions) as refused:
        JobOptions.from_wire({name: value})
    assert str(refused.value) == f"options.{name}: must be a number of milliseconds, ten years at most"


def test_priorities_come_by_name_and_by_number() -> None:
    ranks = [JobOptions.from_wire({"priority": given}).priority for given in ("high", "-3", 7, JobPriority.LOW)]
    assert ranks == [3, -3, 7, 7]


def test_a_backoff_ends_within_a_week_whatever_it_grows_by() -> None:
    week = 7 * 24 * 3600 * 1000
    assert [Backoff().wait(n) for n in (1, 2, 3, 4, 1000)] == [0, 2000, 4000, 8000, week]
    assert Backoff(factor=1e300, delay=2**53).wait(1000) == week
    assert Backoff(factor=1e300, delay=0).wait(1000) == 0

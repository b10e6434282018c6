"""The pure parts of the operations: how a job is drafted, and what a caller may ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from cloudq_tui.engine.codec import unpack_call
from cloudq_tui.errors import Invalid, NoProcessor
from cloudq_tui.models.job import Backoff, JobOptions, KeepFinished
from cloudq_tui.models.queue import QueueCounts, QueueStatus
from cloudq_tui.services.admission import draft
from cloudq_tui.services.catalog import Catalog
from cloudq_tui.services.checks import checked_state, cleanable_state, milliseconds
from cloudq_tui.services.wire import StatusWire
from cloudq_tui.settings import QueueSettings


@dataclass(frozen=True)
class Definition:
    queue: str = "email"
    name: str = "send-email"
    priority: int = 3
    retries: int | None = None
    backoff: Backoff | None = None
    timeout: timedelta | None = None

    def check(self, data: Any) -> dict[str, Any]:
        return dict(data)

    def schema(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("choice", "stored"),
    [
        (None, ""),
        (False, ""),
        (True, "0"),
        (KeepFinished(), ""),
        (KeepFinished(count=0), "0"),
        (KeepFinished(age=0), "0"),
        (KeepFinished(age=3600), "3600:"),
        (KeepFinished(count=5), ":5"),
        (KeepFinished(age=3600, count=5), "3600:5"),
    ],
)
def test_what_is_kept_of_a_finished_job(choice: bool | KeepFinished | None, stored: str) -> None:
    new = draft("email", "send-email", {}, JobOptions(remove_on_complete=choice, remove_on_fail=choice))
    assert (new.keep_completed, new.keep_failed) == (stored, stored)


def test_each_default_comes_from_the_first_that_names_it() -> None:
    settings = QueueSettings(retries=9, backoff=Backoff(delay=9))
    published = {"retries": 8, "backoff": '{"delay":8}'}
    own = Definition(retries=7, backoff=Backoff(delay=7), timeout=timedelta(seconds=7))
    options = JobOptions(priority=6, retries=6, backoff=Backoff(delay=6), timeout=timedelta(seconds=6))

    def drafted(**given: Any) -> tuple[int, int, Any, int]:
        new = draft("email", "send-email", {}, given.pop("options", JobOptions()), **given)
        return new.rank, new.retries, json.loads(new.backoff or "null"), new.timeout

    assert drafted(settings=settings, definition=own, options=options) == (6, 6, {"delay": 6}, 6000)
    assert drafted(settings=settings, definition=own) == (3, 7, {"delay": 7}, 7000)
    assert drafted(settings=settings, definition=Definition()) == (3, 9, {"delay": 9}, 0)
    assert drafted(settings=settings, published=published) == (5, 8, {"delay": 8}, 0)
    assert drafted(settings=settings) == (5, 9, {"delay": 9}, 0)
    assert drafted() == (5, 0, None, 0)


def test_a_default_backoff_takes_no_room() -> None:
    assert draft("email", "x", {}, JobOptions(retries=3)).backoff == "{}"
    assert draft("email", "x", {}, JobOptions(retries=0)).backoff == ""


def test_ids_differ_in_the_characters_people_see() -> None:
    ids = [draft("email", "x", {}, JobOptions()).id for _ in range(200)]
    assert len({job_id[:8] for job_id in ids}) == 200


def test_the_message_is_a_call_with_the_payload() -> None:
    new = draft("email", "x", {"to": ["a"]}, JobOptions(job_id="mine"))
    assert unpack_call(new.message).args == ({"to": ["a"]},)
    assert (new.id, new.unique) == ("mine", True)


def test_the_catalog_says_what_a_queue_offers() -> None:
    catalog = Catalog([Definition(), Definition(name="send-batch-email")])
    with pytest.raises(NoProcessor, match="it has send-batch-email, send-email, send-other"):
        catalog.published("email", "nope", {("email", "send-other"): {}})
    with pytest.raises(NoProcessor, match="'sms' has no processor yet"):
        catalog.published("sms", "send-sms", {})


def test_states_are_words_of_the_field() -> None:
    assert checked_state("paused") == "paused"
    for wrong in ("", "WAITING", "done"):
        with pytest.raises(Invalid, match="unknown state"):
            checked_state(wrong)
    with pytest.raises(Invalid):
        cleanable_state("active")


@pytest.mark.parametrize(("span", "expected"), [(1.5, 1500), (timedelta(minutes=1), 60_000), (0.001, 1)])
def test_spans_become_milliseconds(span: float | timedelta, expected: int) -> None:
    assert milliseconds(span, "delay") == expected


@pytest.mark.parametrize("span", [0, -1, timedelta(0), timedelta(days=366), float("nan"), float("inf")])
def test_spans_that_make_no_sense_are_refused(span: float | timedelta) -> None:
    with pytest.raises(Invalid, match="delay must be more than 0 s and less than a year"):
        milliseconds(span, "delay")


def test_the_summary_adds_up() -> None:
    status = StatusWire.of(
        [QueueStatus("a", QueueCounts(1, 2, 3, 4, 5, 6)), QueueStatus("b", QueueCounts(10, 0, 0, 0, 0, 1))]
    )
    assert status.model_dump(by_alias=True)["summary"] == {
        "totalQueues": 2,
        "totalWaiting": 11,
        "totalActive": 2,
        "totalCompleted": 3,
        "totalFailed": 4,
        "totalPaused": 7,
        "totalDelayed": 5,
    }
    assert StatusWire.of([]).summary.total_queues == 0

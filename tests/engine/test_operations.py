"""QueueOperations on a real Redis: what callers are told, what is refused, and what the audit trail keeps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from cloudq_tui.engine.acts import BUDGET
from cloudq_tui.engine.codec import encode, unpack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import CatalogEntry, Finish, Outcome, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import (
    AmbiguousId,
    Conflict,
    Invalid,
    InvalidOptions,
    InvalidPayload,
    JobNotFound,
    NoProcessor,
    QueueNotFound,
    QueueUnavailable,
    ReadOnly,
)
from cloudq_tui.models.alert import AlertRule
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Backoff, JobOptions, JobPriority, JobState, KeepFinished
from cloudq_tui.models.queue import BulkResult, Preview
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings

OPS = Actor("ops1", "cli", "10.0.0.7")


@dataclass(frozen=True)
class Definition:
    """A job whose payload must have a recipient."""

    queue: str = "email"
    name: str = "send-email"
    priority: int = int(JobPriority.HIGH)
    retries: int | None = 2
    backoff: Backoff | None = None
    timeout: timedelta | None = timedelta(seconds=90)

    def check(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict) or "to" not in data:
            raise InvalidPayload("to", "is missing", job=self.name)
        return {**data, "checked": True}

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


@pytest.fixture
def make(engine: QueueEngine, reader: QueueReader) -> Callable[..., QueueOperations]:
    def build(settings: dict[str, Any] | None = None, **options: Any) -> QueueOperations:
        options.setdefault("definitions", [Definition()])
        return QueueOperations(engine, reader, Settings(**(settings or {})), actor=OPS, **options)

    return build


@pytest.fixture
def operations(make: Callable[..., QueueOperations]) -> QueueOperations:
    return make()


def run_one(engine: QueueEngine, outcome: Outcome, queue: str = "email", **fields: Any) -> str:
    """Claim the next job and end it; its id."""
    claimed = engine.claim([QueueClaim(queue, 1)], worker="w", request=str(time.monotonic_ns()), lease=15_000, limit=1)
    (job,) = claimed.jobs
    engine.finish([Finish(queue, job.id, job.token, outcome, **fields)])
    return job.id


def fail_one(engine: QueueEngine, error: str = "SMTPServerDisconnected: gone") -> str:
    return run_one(engine, Outcome.FAILED, error=error, detail=b"{}")


def acts(operations: QueueOperations) -> list[tuple[str, str, int, str]]:
    return [(entry.action, entry.queue, entry.count, entry.detail) for entry in operations.audit()]


# --- producing -------------------------------------------------------------------------------------------------


def test_enqueue_checks_and_stores_what_the_check_returned(operations: QueueOperations, engine: QueueEngine) -> None:
    job = operations.enqueue("email", "send-email", {"to": "a@example.com"})
    assert (job.state, job.priority, job.retries) == (JobState.WAITING, JobPriority.HIGH, 2)
    assert abs(job.timestamp - engine.now()) < 5_000
    (claimed,) = engine.claim([QueueClaim("email", 1)], worker="w", request="r", lease=9_000, limit=1).jobs
    call = unpack_call(claimed.message or b"")
    assert (call.args, call.kwargs) == (({"to": "a@example.com", "checked": True},), {})
    assert (claimed.id, claimed.rank, claimed.retries, claimed.timeout) == (job.id, 3, 2, 90_000)


def test_a_bad_payload_queues_nothing(operations: QueueOperations) -> None:
    with pytest.raises(InvalidPayload, match="send-email: to: is missing"):
        operations.enqueue("email", "send-email", {"subject": "x"})
    with pytest.raises(InvalidPayload):
        operations.enqueue_many("email", "send-email", [{"to": "a@example.com"}, {}])
    assert operations.count("email", "waiting") == 0


def test_a_value_without_a_stored_form_is_refused(operations: QueueOperations) -> None:
    with pytest.raises(InvalidPayload, match="object"):
        operations.enqueue("email", "send-email", {"to": object()})


def test_options_win_over_the_definition(operations: QueueOperations, reader: QueueReader) -> None:
    options = JobOptions(
        priority=JobPriority.CRITICAL,
        retries=7,
        backoff=Backoff(type="fixed", delay=500),
        timeout=timedelta(seconds=3),
        delay=timedelta(seconds=60),
        remove_on_complete=True,
        remove_on_fail=KeepFinished(age=3600),
    )
    job = operations.enqueue("email", "send-email", {"to": "a"}, options)
    assert (job.state, job.due) == (JobState.DELAYED, job.timestamp + 60_000)
    stored = reader.job("email", job.id)
    assert stored.state is JobState.DELAYED
    assert stored.options == {
        "priority": 1,
        "retries": 7,
        "timeout": 3000,
        "backoff": {"type": "fixed", "delay": 500},
        "removeOnComplete": "0",
        "removeOnFail": "3600:",
    }


def test_queue_settings_fill_what_the_definition_leaves_open(
    make: Callable[..., QueueOperations], reader: QueueReader
) -> None:
    settings = {"queues": {"email": {"retries": 9, "backoff": {"delay": 1234}}}}
    operations = make(settings, definitions=[Definition(retries=None)])
    job = operations.enqueue("email", "send-email", {"to": "a"})
    stored = reader.job("email", job.id)
    assert (stored.retries, stored.options["backoff"]) == (9, {"delay": 1234})


def test_the_same_job_id_is_the_same_job(operations: QueueOperations) -> None:
    options = JobOptions(job_id="order-17")
    first = operations.enqueue("email", "send-email", {"to": "a@example.com"}, options)
    again = operations.enqueue("email", "send-email", {"to": "b@example.com"}, options)
    assert first.id == again.id == "order-17"
    assert again.data["to"] == "a***@example.com"
    assert operations.count("email", "waiting") == 1


def test_a_used_job_id_stays_used_when_its_record_is_gone(operations: QueueOperations) -> None:
    options = JobOptions(job_id="order-17")
    operations.enqueue("email", "send-email", {"to": "a"}, options)
    operations.remove_job("email", "order-17")
    again = operations.enqueue("email", "send-email", {"to": "a"}, options)
    assert (again.id, again.state, again.reason) == ("order-17", "completed", "accepted before, its record is gone")
    assert operations.count("email", "waiting") == 0


def test_a_payload_larger_than_the_setting_allows_is_refused_whole(make: Callable[..., QueueOperations]) -> None:
    operations = make({"max_payload": 2000})
    fits, not_quite = {"to": "é" * 900}, {"to": "é" * 1000}
    with pytest.raises(InvalidPayload) as refused:
        operations.enqueue_many("email", "send-email", [fits, not_quite])
    reason = "takes 2,028 bytes, max_payload allows 2,000; put large data in a file and name that"
    assert str(refused.value) == f"payload: {reason}"
    assert operations.count("email", "waiting") == 0
    assert operations.enqueue("email", "send-email", fits).state is JobState.WAITING


def test_enqueue_many_adds_all_with_ids_of_their_own(operations: QueueOperations) -> None:
    made = operations.enqueue_many("email", "send-email", [{"to": str(n)} for n in range(1200)])
    assert len({job.id for job in made}) == 1200
    assert operations.count("email", "waiting") == 1200
    assert [job.id for job in operations.queue_jobs("email", "waiting", 0, 2)] == [job.id for job in made[:3]]
    with pytest.raises(InvalidOptions, match="jobId"):
        operations.enqueue_many("email", "send-email", [{"to": "a"}, {"to": "b"}], JobOptions(job_id="x"))


def test_a_queue_without_processor_refuses(operations: QueueOperations, engine: QueueEngine) -> None:
    with pytest.raises(NoProcessor, match="'notification' has no processor yet"):
        operations.enqueue("notification", "send-notification", {})
    with pytest.raises(NoProcessor, match="'email' has no job 'send-telegram'; it has send-email"):
        operations.enqueue("email", "send-telegram", {})
    engine.publish([CatalogEntry("notification", "send-notification", retries=4, backoff='{"delay":10}')])
    job = operations.enqueue("notification", "send-notification", {"any": "thing"})
    assert job.retries == 4
    assert operations.job("notification", job.id).options["backoff"] == {"delay": 10}


WRONG: list[tuple[str, Callable[[Any], Any]]] = [
    ("names, ids and reasons are text; got NoneType", lambda it: it.job("email", None)),
    ("names, ids and reasons are text; got list", lambda it: it.enqueue(["email"], "send-email", {"to": "a"})),
    ("names, ids and reasons are text; got int", lambda it: it.enqueue("email", 7, {"to": "a"})),
    ("names, ids and reasons are text; got int", lambda it: it.retry_job("email", 7)),
    ("names, ids and reasons are text; got NoneType", lambda it: it.retry_all("email", error=None)),
    (r"'\udcff' is no Unicode text", lambda it: it.find_job("\udcff")),
    (r"'\udcff' is no Unicode text", lambda it: it.pause_queue("email", "\udcff")),
    ("names, ids and reasons may have 500 characters; got 1,000", lambda it: it.pause_queue("email", "x" * 1000)),
    ("duration must be more than 0 s and less than a year; got '15m'", lambda it: it.pause_queue("email", "", "15m")),
    (
        "start and end must be whole numbers, 0 <= start <= end, both included; got '0' to 19",
        lambda it: it.queue_jobs("email", "failed", "0"),
    ),
    (
        "grace must be a whole number, 0 ms or more and below 2^63; got nan",
        lambda it: it.clean_queue("email", math.nan),
    ),
    ("limit must be a whole number, 1 or more and below 2^63; got 0", lambda it: it.events("email", 0)),
    ("limit must be a whole number, 1 or more and below 2^63; got -5", lambda it: it.audit(-5)),
]


@pytest.mark.parametrize(("said", "ask"), WRONG)
def test_what_a_clumsy_caller_asks_is_refused_in_one_line(
    operations: QueueOperations, said: str, ask: Callable[[Any], Any]
) -> None:
    with pytest.raises(Invalid) as refused:
        ask(operations)
    assert str(refused.value) == said
    assert operations.audit() == []


# --- looking ---------------------------------------------------------------------------------------------------


def test_unknown_queues_are_named_with_the_known_ones(operations: QueueOperations) -> None:
    for ask in (
        lambda: operations.queue_jobs("emial", "waiting"),
        lambda: operations.job("emial", "1"),
        lambda: operations.pause_queue("emial"),
        lambda: operations.empty_queue("emial"),
        lambda: operations.preview_empty("emial"),
        lambda: operations.events("emial"),
        lambda: operations.enqueue("emial", "send-email", {"to": "a"}),
    ):
        with pytest.raises(QueueNotFound, match="no queue 'emial'; there are email, sms, "):
            ask()
    assert acts(operations) == []


def test_queues_found_in_redis_join_the_configured_ones(
    make: Callable[..., QueueOperations], engine: QueueEngine
) -> None:
    settings = {"queues": {"housekeeping": {"internal": True}}}
    engine.publish([CatalogEntry("billing", "charge"), CatalogEntry("housekeeping", "sweep")])
    operations = make(settings)
    assert operations.queue_names()[0] == "email"
    assert operations.queue_names()[-1] == "billing"
    assert "housekeeping" not in operations.queue_names()
    job = operations.enqueue("housekeeping", "sweep", {})
    assert operations.find_job(job.id).queue == "housekeeping"


def test_a_queue_used_for_the_first_time_is_known_at_once(operations: QueueOperations, engine: QueueEngine) -> None:
    with pytest.raises(QueueNotFound):
        operations.queue_jobs("billing", "waiting")
    engine.publish([CatalogEntry("billing", "charge")])
    assert operations.queue_jobs("billing", "waiting") == []


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, -1)])
def test_a_range_that_is_none_is_refused(operations: QueueOperations, start: int, end: int) -> None:
    with pytest.raises(Invalid, match="0 <= start <= end"):
        operations.queue_jobs("email", "waiting", start, end)


def test_unknown_states_are_refused_by_name(operations: QueueOperations) -> None:
    with pytest.raises(Invalid, match="unknown state 'done'; choose from waiting, active"):
        operations.queue_jobs("email", "done")
    with pytest.raises(Invalid, match="only failed and completed"):
        operations.retry_all("email", state="waiting")
    with pytest.raises(Invalid, match="cancel them instead"):
        operations.clean_queue("email", 0, "active")


def test_what_is_read_is_masked_unless_asked_for(
    make: Callable[..., QueueOperations], operations: QueueOperations, engine: QueueEngine
) -> None:
    operations.enqueue("email", "send-email", {"to": "tom@example.com", "password": "hunter2"})
    job_id = fail_one(engine, "550 no such user tom@example.com")
    seen = operations.job("email", job_id)
    assert seen.data == {"to": "t***@example.com", "password": "***", "checked": True}
    assert seen.error == "550 no such user t***@example.com"
    assert operations.queue_jobs("email", "failed")[0].error == seen.error
    assert operations.preview_retry("email").errors == ((seen.error, 1),)
    assert operations.find_job(job_id[:8]).data == seen.data
    assert "tom@" not in repr(operations.events("email"))
    bare = make(mask=False)
    assert bare.job("email", job_id).data["password"] == "hunter2"
    assert bare.preview_retry("email").errors == (("550 no such user tom@example.com", 1),)


def test_a_job_is_found_by_the_first_characters_of_its_id(operations: QueueOperations) -> None:
    for job_id in ("abc-1", "abc-2", "xyz-1"):
        operations.enqueue("email", "send-email", {"to": "a"}, JobOptions(job_id=job_id))
    assert operations.find_job("xyz").id == "xyz-1"
    assert operations.find_job("abc-1", queue="email").id == "abc-1"
    with pytest.raises(AmbiguousId):
        operations.find_job("abc")
    with pytest.raises(JobNotFound):
        operations.find_job("xyz", queue="sms")
    with pytest.raises(JobNotFound):
        operations.find_job("")


def test_the_snapshot_carries_the_alerts(operations: QueueOperations) -> None:
    operations.enqueue("email", "send-email", {"to": "a"})
    view = operations.snapshot().queue("email")
    assert view is not None
    assert [alert.rule for alert in view.alerts] == [AlertRule.NO_WORKER]


def test_the_snapshot_says_how_many_jobs_may_run_at_one_time(operations: QueueOperations) -> None:
    allowed = {view.name: view.concurrency for view in operations.snapshot().queues}
    assert (allowed["email"], allowed["data-export"]) == (0, 2)


def test_a_snapshot_is_one_round_trip(operations: QueueOperations, connection: Connection) -> None:
    operations.snapshot()
    sent: list[int] = []
    execute = connection.client.connection_pool.get_connection

    def counted(*args: Any, **kwargs: Any) -> Any:
        sent.append(1)
        return execute(*args, **kwargs)

    connection.client.connection_pool.get_connection = counted
    operations.snapshot()
    assert len(sent) == 1


# --- acting ----------------------------------------------------------------------------------------------------


def test_each_act_on_a_job_leaves_one_audit_entry(operations: QueueOperations, engine: QueueEngine) -> None:
    ids = [operations.enqueue("email", "send-email", {"to": "a"}).id for _ in range(2)]
    assert fail_one(engine) == ids[0]
    operations.retry_job("email", ids[0])
    operations.remove_job("email", ids[0])
    assert operations.cancel_job("email", ids[1]) is JobState.WAITING
    late = operations.enqueue("email", "send-email", {"to": "a"}, JobOptions(delay=timedelta(hours=1)))
    operations.reschedule_job("email", late.id, 7200)
    operations.promote_job("email", late.id)
    assert acts(operations) == [
        ("promote", "email", 1, late.id),
        ("reschedule", "email", 1, f"{late.id} in 7200000 ms"),
        ("cancel", "email", 1, ids[1]),
        ("remove", "email", 1, ids[0]),
        ("retry", "email", 1, ids[0]),
    ]
    assert {entry.actor for entry in operations.audit()} == {OPS}
    assert operations.job("email", ids[1]).error == "cancelled by ops1@10.0.0.7"


def test_a_refused_act_leaves_none(operations: QueueOperations) -> None:
    job = operations.enqueue("email", "send-email", {"to": "a"})
    with pytest.raises(Conflict):
        operations.retry_job("email", job.id)
    with pytest.raises(JobNotFound):
        operations.remove_job("email", "nope")
    assert acts(operations) == []


def test_pause_and_resume(operations: QueueOperations) -> None:
    operations.enqueue("email", "send-email", {"to": "a"})
    operations.pause_queue("email", "provider down", timedelta(minutes=15))
    view = operations.snapshot().queue("email")
    assert view is not None
    assert view.pause is not None
    assert (view.pause.by, view.pause.why) == ("ops1@10.0.0.7", "provider down")
    assert view.pause.until == view.pause.since + 900_000
    assert (view.counts.waiting, view.counts.paused, view.alerts) == (0, 1, ())
    assert operations.resume_queue("email") is True
    assert operations.resume_queue("email") is False
    assert [(action, detail) for action, _, _, detail in acts(operations)] == [
        ("resume", "was not paused"),
        ("resume", ""),
        ("pause", "for 900000 ms provider down"),
    ]
    with pytest.raises(Invalid, match="duration must be more than 0"):
        operations.pause_queue("email", "", 0)


def test_empty_goes_in_steps_and_can_be_stopped(operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 600)
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 10, JobOptions(delay=timedelta(hours=1)))
    assert operations.preview_empty("email").count == 610
    seen: list[BulkResult] = []

    def stop_at_once(done: BulkResult) -> bool:
        seen.append(done)
        return False

    stopped = operations.empty_queue("email", stop_at_once)
    assert (stopped, stopped.moved + stopped.remaining) == (seen[0], 610)
    assert 0 < stopped.moved < 610
    rest = operations.empty_queue("email", seen.append)  # an answer of None goes on
    assert (rest.moved, rest.remaining) == (610 - stopped.moved, 0)
    assert len(seen) > 2
    assert operations.count("email", "waiting") == operations.count("email", "delayed") == 0
    assert [act[:3] for act in acts(operations)] == [
        ("empty", "email", rest.moved),
        ("empty", "email", stopped.moved),
    ]


def test_empty_takes_all_that_was_there_whatever_is_claimed_meanwhile(
    operations: QueueOperations, engine: QueueEngine
) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "old"}] * (2 * BUDGET + 50))
    began = engine.now()
    steps = 0

    def meanwhile(_: BulkResult) -> None:
        nonlocal steps
        steps += 1
        if steps == 1:  # newer ones come before the old
            while engine.now() <= began:
                pass
            operations.enqueue_many("email", "send-email", [{"to": "new"}] * BUDGET, JobOptions(priority=1))
        if steps == 2:  # they were skipped, and are claimed
            engine.claim([QueueClaim("email", BUDGET)], worker="w", request="r", lease=60_000, limit=BUDGET)

    done = operations.empty_queue("email", meanwhile)
    assert (done.moved, done.remaining) == (2 * BUDGET + 50, 0)
    assert operations.count("email", "waiting") == 0
    assert operations.count("email", "active") == BUDGET


def test_empty_spares_active_jobs_and_the_pause(operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 3)
    engine.claim([QueueClaim("email", 1)], worker="w", request="r", lease=9_000, limit=1)
    operations.pause_queue("email")
    assert operations.empty_queue("email").moved == 2
    assert (operations.count("email", "active"), operations.count("email", "paused")) == (1, 0)
    view = operations.snapshot().queue("email")
    assert view is not None
    assert view.pause is not None


def test_retry_all_takes_what_fits(operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 5)
    for error in ("timeout", "timeout", "535 auth", "timeout", "535 auth"):
        fail_one(engine, error)
    some = operations.retry_all("email", error="535")
    assert (some.moved, some.skipped, some.remaining) == (2, 3, 0)
    assert operations.retry_all("email").moved == 3
    assert operations.retry_all("email").moved == 0
    assert [act[0:1] + act[2:] for act in acts(operations)] == [
        ("retry all", 0, "failed"),
        ("retry all", 3, "failed"),
        ("retry all", 2, "failed 535"),
    ]


def pass_time(engine: QueueEngine) -> None:
    """Until the server's clock, which tells how old a job is, has moved on by more than two calls take."""
    later = engine.now() + 5
    while engine.now() < later:
        pass


def test_clean_minds_state_and_grace(operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 3)
    fail_one(engine)
    run_one(engine, Outcome.COMPLETED, result=encode("ok"))
    pass_time(engine)
    assert operations.clean_queue("email").moved == 0
    assert operations.preview_clean("email", 0, "completed").count == 1
    assert operations.clean_queue("email", 0, "completed").moved == 1
    assert operations.clean_queue("email", 0, "failed").moved == 1
    assert operations.count("email", "waiting") == 1
    with pytest.raises(Invalid, match="grace"):
        operations.clean_queue("email", -1)


@pytest.mark.parametrize("state", ["waiting", "delayed", "paused"])
def test_a_preview_of_clean_counts_the_old_ones_or_says_that_it_did_not(
    operations: QueueOperations, engine: QueueEngine, state: str
) -> None:
    options = JobOptions(delay=60 if state == "delayed" else 0)
    operations.enqueue_many("email", "send-email", [{"to": "old"}] * 3, options)
    pass_time(engine)
    between = engine.now()
    pass_time(engine)
    operations.enqueue_many("email", "send-email", [{"to": "new"}] * 150, options)
    if state == "paused":
        operations.pause_queue("email")
    seen = operations.preview_clean("email", engine.now() - between, state)
    assert (seen.count, seen.sampled, seen.at_most, seen.by_state) == (3, 3, False, ((state, 3),))
    assert operations.preview_clean("email", 3_600_000, state) == Preview(0)
    operations.enqueue_many("email", "send-email", [{"to": "new"}] * 100, options)
    seen = operations.preview_clean("email", engine.now() - between, state)
    assert (seen.count, seen.sampled, seen.at_most) == (253, 3, True)
    assert operations.clean_queue("email", engine.now() - between, state).moved == 3
    assert operations.preview_empty("email").at_most is False


def test_clean_takes_waiting_and_paused_at_their_word(operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue("email", "send-email", {"to": "a"})
    pass_time(engine)
    assert operations.clean_queue("email", 0, "paused").moved == 0
    operations.pause_queue("email")
    assert operations.clean_queue("email", 0, "waiting").moved == 0
    assert operations.clean_queue("email", 0, "paused").moved == 1


def test_read_only_refuses_every_write_and_no_look(
    make: Callable[..., QueueOperations], operations: QueueOperations
) -> None:
    job = operations.enqueue("email", "send-email", {"to": "a"})
    bound = make(read_only=True)
    for act in (
        lambda: bound.enqueue("email", "send-email", {"to": "a"}),
        lambda: bound.enqueue_many("email", "send-email", [{"to": "a"}]),
        lambda: bound.retry_job("email", job.id),
        lambda: bound.remove_job("email", job.id),
        lambda: bound.promote_job("email", job.id),
        lambda: bound.reschedule_job("email", job.id, 5),
        lambda: bound.cancel_job("email", job.id),
        lambda: bound.pause_queue("email"),
        lambda: bound.resume_queue("email"),
        lambda: bound.retry_all("email"),
        lambda: bound.empty_queue("email"),
        lambda: bound.clean_queue("email"),
    ):
        with pytest.raises(ReadOnly, match="read-only"):
            act()
    assert bound.job("email", job.id).state is JobState.WAITING
    assert bound.snapshot().queue("email") is not None
    assert acts(operations) == []


def test_a_lost_audit_entry_does_not_undo_the_act(
    operations: QueueOperations,
    engine: QueueEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise QueueUnavailable("gone")

    monkeypatch.setattr(engine, "audit", lost)
    operations.pause_queue("email")
    view = operations.snapshot().queue("email")
    assert view is not None
    assert view.pause is not None
    assert "no audit entry for pause on email by ops1" in caplog.text


def test_what_a_broken_off_bulk_act_did_is_noted(
    operations: QueueOperations, engine: QueueEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 600)
    whole = engine.empty
    steps = iter([whole])

    def breaks(*args: Any, **kwargs: Any) -> BulkResult:
        step = next(steps, None)
        if step is None:
            raise QueueUnavailable("gone")
        return step(*args, **kwargs)

    monkeypatch.setattr(engine, "empty", breaks)
    with pytest.raises(QueueUnavailable):
        operations.empty_queue("email")
    [(action, _, count, _)] = acts(operations)
    assert (action, count) == ("empty", 600 - operations.count("email", "waiting"))
    assert 0 < count < 600


def test_redis_away_is_one_error_soon(tmp_path: Any) -> None:
    connection = Connection.from_url(f"unix://{tmp_path}/none.sock")
    operations = QueueOperations(
        QueueEngine(connection), QueueReader(connection), Settings(), actor=OPS, definitions=[Definition()]
    )
    began = time.monotonic()
    for ask in (
        operations.snapshot,
        operations.all_queues_status,
        lambda: operations.enqueue("email", "send-email", {"to": "a"}),
        lambda: operations.pause_queue("email"),
        lambda: operations.empty_queue("email"),
    ):
        with pytest.raises(QueueUnavailable):
            ask()
    assert time.monotonic() - began < 5


# --- undo ---------------------------------------------------------------------------------------------------------


def test_undo_takes_back_the_last_act_and_then_the_one_before(operations: QueueOperations, engine: QueueEngine) -> None:
    for _ in range(3):
        operations.enqueue("email", "send-email", {"to": "a@example.com"})
    failed = fail_one(engine)
    operations.remove_job("email", failed)
    operations.empty_queue("email")
    assert operations.count("email", "waiting") == 0
    entry, result = operations.undo()
    assert (entry.action, result.moved) == ("empty", 2)
    assert operations.count("email", "waiting") == 2
    entry, _ = operations.undo()
    assert (entry.action, entry.detail) == ("remove", failed)
    assert operations.job("email", failed).state is JobState.FAILED
    with pytest.raises(Conflict, match="nothing to undo"):
        operations.undo()
    assert [entry.action for entry in operations.audit()] == ["undo", "undo", "empty", "remove"]


def test_an_undo_that_was_stopped_goes_on_where_it_was(operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [{"to": "a"}] * 600)
    operations.empty_queue("email")
    _, stopped = operations.undo(lambda done: False)
    assert 0 < stopped.moved < 600
    assert operations.count("email", "waiting") == stopped.moved
    assert acts(operations)[0][3].endswith(" in part")
    entry, rest = operations.undo()
    assert (entry.action, rest.moved) == ("empty", 600 - stopped.moved)
    assert operations.count("email", "waiting") == 600
    with pytest.raises(Conflict, match="nothing to undo"):
        operations.undo()


def test_an_act_may_be_final_and_is_nobody_elses_to_undo(
    operations: QueueOperations, engine: QueueEngine, reader: QueueReader
) -> None:
    operations.enqueue("email", "send-email", {"to": "a@example.com"})
    operations.empty_queue("email", undoable=False)
    with pytest.raises(Conflict):
        operations.undo()
    operations.enqueue("email", "send-email", {"to": "a@example.com"})
    operations.empty_queue("email")
    other = QueueOperations(engine, reader, Settings(), actor=Actor("ops2", "cli"))
    with pytest.raises(Conflict):
        other.undo()


def test_a_paused_backlog_is_previewed_as_what_empty_removes(operations: QueueOperations) -> None:
    for _ in range(3):
        operations.enqueue("email", "send-email", {"to": "a@example.com"})
    operations.enqueue("email", "send-email", {"to": "a@example.com"}, JobOptions(delay=timedelta(hours=1)))
    operations.pause_queue("email")
    preview = operations.preview_empty("email")
    assert preview.count == 4
    assert dict(preview.by_state) == {"delayed": 1, "paused": 3}
    assert operations.empty_queue("email").moved == 4

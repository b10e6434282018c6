"""The fake of the dashboard's tests and the real operations keep the same promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from fake_operations import FakeOperations

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.records import Finish, NewJob, Outcome, QueueClaim
from cloudq_tui.errors import Conflict, JobNotFound, QueueNotFound, ReadOnly
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.queue import BulkResult
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings


@dataclass
class Side:
    """Operations, the same refusing to write, and ways to put a job into a state."""

    operations: Any
    read_only: Any
    put: Callable[[str, JobState], None]


def _fake() -> Side:
    fake = FakeOperations()
    refusing = FakeOperations(read_only=True)

    def put(job_id: str, state: JobState) -> None:
        job = Job(job_id, "email", "send-email", state, fake.now, error="boom" if state == JobState.FAILED else "")
        ended = fake.now if state in {JobState.FAILED, JobState.COMPLETED} else None
        fields = {"due": fake.now + 60_000 if state == JobState.DELAYED else None, "finished_on": ended}
        fake.put(Job(**{**{name: getattr(job, name) for name in job.__dataclass_fields__}, **fields}))

    return Side(fake, refusing, put)


def _real(request: pytest.FixtureRequest) -> Side:
    engine, reader = request.getfixturevalue("engine"), request.getfixturevalue("reader")
    settings, actor = Settings(), Actor("ops1", "dashboard")

    def put(job_id: str, state: JobState) -> None:
        message = pack_call(({"n": job_id},), {})
        delay = 60_000 if state == JobState.DELAYED else 0
        engine.add(NewJob(id=job_id, queue="email", name="send-email", message=message, delay=delay))
        if state in {JobState.WAITING, JobState.DELAYED}:
            return
        claim = engine.claim([QueueClaim("email", 1)], worker="w", request=job_id, lease=60_000, limit=1)
        [job] = claim.jobs
        assert job.id == job_id, "put the waiting jobs last"
        if state != JobState.ACTIVE:
            outcome = Outcome.FAILED if state == JobState.FAILED else Outcome.COMPLETED
            ended = Finish(queue="email", id=job.id, token=job.token, outcome=outcome, error="boom")
            engine.finish([ended])

    return Side(
        QueueOperations(engine, reader, settings, actor=actor),
        QueueOperations(engine, reader, settings, actor=actor, read_only=True),
        put,
    )


@pytest.fixture(params=["fake", "real"])
def side(request: pytest.FixtureRequest) -> Side:
    return _fake() if request.param == "fake" else _real(request)


def ids(side: Side, state: str) -> list[str]:
    return [job.id for job in side.operations.queue_jobs("email", state, 0, 99)]


def counts(side: Side) -> dict[str, int]:
    found = side.operations.snapshot().queue("email").counts
    return {name: getattr(found, name) for name in found.__dataclass_fields__ if getattr(found, name)}


def fill(side: Side) -> None:
    """One job in each state."""
    for state in (JobState.FAILED, JobState.COMPLETED, JobState.ACTIVE, JobState.DELAYED, JobState.WAITING):
        side.put(f"{state.value}-1", state)


def test_a_snapshot_counts_each_job_once_and_lists_the_active_ones(side: Side) -> None:
    fill(side)
    assert counts(side) == {"waiting": 1, "active": 1, "completed": 1, "failed": 1, "delayed": 1}
    snapshot = side.operations.snapshot()
    assert [job.id for job in snapshot.active] == ["active-1"]
    assert [view.name for view in snapshot.queues] == side.operations.queue_names()
    status = {one.name: one.counts for one in side.operations.all_queues_status()}
    assert status["email"] == snapshot.queue("email").counts


def test_pages_name_the_jobs_of_a_state_with_both_ends_included(side: Side) -> None:
    fill(side)
    for state in ("waiting", "active", "delayed", "failed", "completed"):
        [job] = side.operations.queue_jobs("email", state, 0, 0)
        assert (job.id, job.state.value, job.data) == (f"{state}-1", state, None)
        assert side.operations.queue_jobs("email", state, 1, 5) == []
    assert side.operations.job("email", "failed-1").error == "boom"


def test_what_is_not_there_is_not_found(side: Side) -> None:
    with pytest.raises(JobNotFound):
        side.operations.job("email", "nobody")
    with pytest.raises(QueueNotFound):
        side.operations.queue_jobs("nowhere", "failed", 0, 9)


def test_a_paused_queue_shows_its_backlog_as_paused(side: Side) -> None:
    side.put("waiting-1", JobState.WAITING)
    side.operations.pause_queue("email", "disk full", timedelta(minutes=15))
    view = side.operations.snapshot().queue("email")
    assert (view.pause.why, view.pause.until - view.pause.since) == ("disk full", 900_000)
    assert counts(side) == {"paused": 1}
    assert ids(side, "paused") == ["waiting-1"]
    assert ids(side, "waiting") == []
    assert side.operations.resume_queue("email") is True
    assert side.operations.resume_queue("email") is False
    assert counts(side) == {"waiting": 1}


def test_retry_moves_failed_and_completed_to_waiting_and_refuses_others(side: Side) -> None:
    fill(side)
    side.operations.retry_job("email", "failed-1")
    side.operations.retry_job("email", "completed-1")
    assert {"failed-1", "completed-1"} <= set(ids(side, "waiting"))
    for job_id in ("active-1", "delayed-1"):
        with pytest.raises(Conflict):
            side.operations.retry_job("email", job_id)
    with pytest.raises(JobNotFound):
        side.operations.retry_job("email", "nobody")


def test_remove_takes_any_but_the_active(side: Side) -> None:
    fill(side)
    for state in ("failed", "completed", "delayed", "waiting"):
        side.operations.remove_job("email", f"{state}-1")
    with pytest.raises(Conflict):
        side.operations.remove_job("email", "active-1")
    assert counts(side) == {"active": 1}


def test_retry_all_moves_every_failed_job_and_reports(side: Side) -> None:
    for number in range(3):
        side.put(f"f{number}", JobState.FAILED)
    assert side.operations.preview_retry("email").count == 3
    assert side.operations.preview_retry("email").errors[0] == ("boom", 3)
    seen: list[BulkResult] = []
    result = side.operations.retry_all("email", lambda sums: bool(seen.append(sums)) or None)
    assert result == seen[-1] == BulkResult(moved=3)
    assert counts(side) == {"waiting": 3}


def test_empty_takes_waiting_and_delayed_and_leaves_the_rest(side: Side) -> None:
    fill(side)
    preview = side.operations.preview_empty("email")
    assert (preview.count, dict(preview.by_state)) == (2, {"waiting": 1, "delayed": 1})
    assert side.operations.empty_queue("email").moved == 2
    assert counts(side) == {"active": 1, "completed": 1, "failed": 1}


def test_undo_takes_back_the_last_act_and_tells_which(side: Side) -> None:
    fill(side)
    assert side.operations.last_undoable() is None
    side.operations.empty_queue("email")
    side.operations.remove_job("email", "failed-1")
    for action, count, states in (("remove", 1, {"failed"}), ("empty", 2, {"failed", "waiting", "delayed"})):
        told = side.operations.last_undoable()
        assert (told.queue, told.action, told.count) == ("email", action, count)
        entry, result = side.operations.undo()
        assert (entry.action, result.moved) == (action, count)
        assert states <= set(counts(side))
    with pytest.raises(Conflict):
        side.operations.undo()


def test_clean_takes_one_state_older_than_the_grace(side: Side) -> None:
    fill(side)
    hour = 3_600_000
    assert side.operations.preview_clean("email", hour, "failed").count == 0
    assert side.operations.clean_queue("email", hour, "failed").moved == 0
    assert side.operations.preview_clean("email", 0, "failed").count == 1
    assert side.operations.clean_queue("email", 0, JobState.FAILED).moved == 1
    assert "failed" not in counts(side)


def test_read_only_refuses_every_write(side: Side) -> None:
    acts = side.read_only
    for act in (
        lambda: acts.retry_job("email", "1"),
        lambda: acts.remove_job("email", "1"),
        lambda: acts.pause_queue("email"),
        lambda: acts.resume_queue("email"),
        lambda: acts.retry_all("email"),
        lambda: acts.empty_queue("email"),
        lambda: acts.clean_queue("email"),
        acts.undo,
    ):
        with pytest.raises(ReadOnly):
            act()

"""A Redis over its maxmemory: it refuses work whole and still drains. Every verb, and what becomes of it there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.exceptions import ResponseError

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.records import ChordMember, Finish, KeyWrite, Lease, NewJob, Outcome, QueueClaim, Renewal
from cloudq_tui.errors import QueueFull
from cloudq_tui.models.job import JobState

from .conftest import QUEUE, Bench


class Full(Bench):
    """A queue with jobs in every state."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        for outcome in (Outcome.COMPLETED, Outcome.FAILED):
            self.add(id=outcome.name.lower())
            self.finish(self.claim()[0], outcome, error="no")
        for number in range(2):
            self.add(id=f"late-{number}")
        self.late = [Lease(QUEUE, job.id, job.token) for job in self.claim(2, lease=1)]
        self.add(id="held")
        held = self.claim(worker="w2", lease=60_000)[0]
        self.held = Lease(QUEUE, held.id, held.token)
        self.engine.lock(self.held, "device-1")
        self.add(id="gone")
        self.engine.remove(QUEUE, "gone", act="before")
        self.add(id="waiting")
        self.add(id="delayed", delay=5)
        self.pass_time(10)

    def end(self, outcome: Outcome, **fields: object) -> bool:
        ended = Finish(QUEUE, self.held.id, self.held.token, outcome, error="no", **fields)  # type: ignore[arg-type]
        return self.engine.finish([ended])[0] == [True]

    def contents(self) -> dict[bytes, bytes]:
        client = self.connection.client
        # A claim's memory of its request ends by the real clock.
        return {key: client.dump(key) for key in client.keys("*") if b":rq:" not in key}

    def in_state(self, state: str, *job_ids: str) -> bool:
        return set(job_ids) <= set(self.ids(state))

    def runs_on(self) -> NewJob:
        return NewJob("next", QUEUE, "send-email", b"")


Verb = Callable[[Full], bool]  # True: what it promises has come about

COMPLETES: dict[str, Verb] = {
    "claim": lambda full: {job.id for job in full.claim(5)} == {"waiting", "delayed"},
    "claim, limited": lambda full: len(full.claim(1, QueueClaim(QUEUE, 5, 9, 1, 1000))) == 1,
    "finish, completed": lambda full: (
        full.end(Outcome.COMPLETED, result=b"1", writes=(KeyWrite("held", b"1", 1000), KeyWrite("other", b"2")))
        and full.in_state("completed", "held")
    ),
    "finish with what follows": lambda full: (
        full.end(Outcome.COMPLETED, follow_ups=(full.runs_on(),)) and full.in_state("waiting", "next")
    ),
    "finish as the last of a chord": lambda full: (
        full.end(Outcome.COMPLETED, chords=(ChordMember("c", 0, 1, b"1", full.runs_on()),))
        and full.in_state("waiting", "next")
    ),
    "finish, failed": lambda full: full.end(Outcome.FAILED, detail=b"{}") and full.in_state("failed", "held"),
    "finish, to be retried": lambda full: full.end(Outcome.RETRY, delay=1000) and full.in_state("delayed", "held"),
    "defer": lambda full: full.end(Outcome.DEFER, delay=1000) and full.in_state("delayed", "held"),
    "release": lambda full: full.end(Outcome.RELEASE) and full.in_state("waiting", "held"),
    "renew": lambda full: full.engine.renew([full.held, *full.late], lease=9000) == [Renewal.HELD] * 3,
    "recover": lambda full: full.engine.recover([QUEUE]) == 2 and full.in_state("waiting", "late-0", "late-1"),
    "scrub": lambda full: full.engine.scrub(full.held, b"{}"),
    "limit": lambda full: (
        full.engine.limit(full.held, "provider", 1, 60_000) == 0
        and full.engine.limit(full.held, "provider", 1, 60_000) == 60_000
    ),
    "checkpoint": lambda full: full.engine.checkpoint(full.held, b"5"),
    "lock": lambda full: full.engine.lock(full.held, "device-2") is True,
    "unlock": lambda full: full.engine.unlock(full.held, "device-1"),
    "retry": lambda full: full.engine.retry(QUEUE, "failed") is None and full.in_state("waiting", "failed"),
    "retry all": lambda full: (
        full.engine.retry_all(QUEUE, JobState.FAILED, cutoff=full.now(), act="a").moved == 1
        and full.in_state("waiting", "failed")
    ),
    "promote": lambda full: full.engine.promote(QUEUE, "delayed") is None and full.in_state("waiting", "delayed"),
    "reschedule": lambda full: full.engine.reschedule(QUEUE, "delayed", 9000) is None,
    "remove": lambda full: full.engine.remove(QUEUE, "failed", act="a") is None and not full.ids("failed"),
    "cancel what waits": lambda full: (
        full.engine.cancel(QUEUE, "waiting", "ops") is JobState.WAITING and full.in_state("failed", "waiting")
    ),
    "cancel what runs": lambda full: (
        full.engine.cancel(QUEUE, "held", "ops") is JobState.ACTIVE
        and full.engine.renew([full.held], lease=9000) == [Renewal.CANCELLED]
    ),
    "empty": lambda full: full.engine.empty(QUEUE, cutoff=full.now(), act="a").moved == 2,
    "clean": lambda full: full.engine.clean(QUEUE, JobState.COMPLETED, before=full.now(), act="a").moved == 1,
    "undo": lambda full: full.engine.undo(QUEUE, "before").moved == 1 and full.in_state("waiting", "gone"),
    "pause": lambda full: full.engine.pause(QUEUE, by="ops") is None and full.in_state("paused", "waiting"),
}
REFUSED: dict[str, Callable[[Full], object]] = {
    "add": lambda full: full.add(),
    "add, delayed": lambda full: full.add(delay=1000),
    "add with an id of its own": lambda full: full.add(id="mine", unique=True),
    "add in the place of one in the trash": lambda full: full.add(id="gone"),
    "add again what has finished": lambda full: full.add(id="completed", rerun=True),
    "add in bulk": lambda full: full.engine.add_many(NewJob(f"b{number}", QUEUE, "x", b"") for number in range(250)),
    "progress": lambda full: full.engine.progress(full.held, 50, "half"),
    "log": lambda full: full.engine.log(full.held, "a line"),
}


@pytest.fixture
def full(connection: Connection) -> Full:
    return Full(connection)


def fill(full: Full) -> None:
    full.connection.client.config_set("maxmemory", 1)


def give_room(full: Full) -> None:
    full.connection.client.config_set("maxmemory", 0)


@pytest.mark.parametrize("verb", COMPLETES)
def test_what_empties_queues_completes(full: Full, verb: str) -> None:
    fill(full)
    try:
        assert COMPLETES[verb](full)
    finally:
        give_room(full)


def test_resume_completes(full: Full) -> None:
    full.engine.pause(QUEUE, by="ops")
    fill(full)
    try:
        assert full.engine.resume(QUEUE)
    finally:
        give_room(full)


@pytest.mark.parametrize("verb", REFUSED)
def test_what_only_grows_is_refused_and_nothing_is_half_done(full: Full, verb: str) -> None:
    before = full.contents()
    fill(full)
    try:
        with pytest.raises(QueueFull, match="memory limit"):
            REFUSED[verb](full)
    finally:
        give_room(full)
    assert full.contents() == before
    REFUSED[verb](full)  # the same is taken once there is room


def test_an_older_server_words_it_differently(connection: Connection) -> None:
    """Redis 6.2 puts its refusal inside an error of the script."""
    said = "Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed"
    with pytest.raises(QueueFull, match="memory limit"), connection.guard():
        raise ResponseError(said)

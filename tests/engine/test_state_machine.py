"""Any sequence of verbs, against a dict that says what must be true.

Invariants after every step: each id is in exactly one state, records agree with states, counts sum, only the lease
holder ends a job, and nothing accepted disappears. `CLOUDQ_EXAMPLES=5000 pytest tests/engine/test_state_machine.py`
runs it long.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import ClaimedJob, Finish, Lease, NewJob, Outcome, QueueClaim, Renewal, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import Conflict, JobNotFound
from cloudq_tui.models.job import JobState

EXAMPLES = int(os.environ.get("CLOUDQ_EXAMPLES", "200"))
QUEUES = ("email", "sms", "device-operation")
WORKERS = ("w1", "w2", "w3")
START = 1_800_000_000_000
MAX_STALLED = 3
RETENTION = dict.fromkeys(QUEUES, Retention(completed_age=0, completed_count=0, failed_age=0))
ENDED = ("completed", "failed")

queue_names = st.sampled_from(QUEUES)


@dataclass
class Model:
    """What the engine must hold of one job."""

    queue: str
    rank: int
    state: str
    created: int
    order: int
    due: int = 0
    token: str = ""
    lease_until: int = 0
    failures: int = 0
    stalled: int = 0
    cancelled: bool = False
    finished: int = 0


@dataclass
class Held:
    """A lease somebody believes to hold; it may be stale."""

    queue: str
    id: str
    token: str
    stale: bool = field(default=False)


class Verbs(RuleBasedStateMachine):
    """The verbs as rules. Time stands still unless the clock rule moves it."""

    connection: Connection  # set by the test

    held = Bundle("held")
    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        client = self.connection.client
        client.flushall()
        client.set("{clock}:now", START)
        self.now = START
        self.engine = QueueEngine(self.connection, clock="clock_fixed")
        self.reader = QueueReader(self.connection, clock="clock_fixed")
        self.jobs: dict[str, Model] = {}
        self.paused: dict[str, int | None] = {}
        self.gone: set[str] = set()
        self.sequence = 0
        self.requests = 0

    # --- what the model knows ---

    def place(self, job: Model) -> None:
        self.sequence += 1
        job.order = self.sequence
        job.state, job.token, job.lease_until = "waiting", "", 0

    def is_paused(self, queue: str) -> bool:
        if queue not in self.paused:
            return False
        until = self.paused[queue]
        return until is None or until > self.now

    def of(self, queue: str, *states: str) -> dict[str, Model]:
        return {job_id: job for job_id, job in self.jobs.items() if job.queue == queue and job.state in states}

    def end(self, job: Model, state: str) -> None:
        job.state, job.token, job.finished = state, "", self.now

    # --- rules ---

    @rule(target=ids, queue=queue_names, rank=st.integers(-3, 10), delay=st.sampled_from([0, 0, 0, 500, 5000]))
    def add(self, queue: str, rank: int, delay: int) -> str:
        job_id = f"j{len(self.jobs) + len(self.gone)}"
        job = NewJob(job_id, queue, "work", pack_call((job_id,), {}), rank=rank, delay=delay)
        assert self.engine.add(job)
        assert not self.engine.add(job), "the same id is the same job"
        self.sequence += 1
        model = Model(queue, rank, "delayed" if delay else "waiting", self.now, self.sequence, due=self.now + delay)
        self.jobs[job_id] = model
        return job_id

    @rule(ms=st.sampled_from([1, 400, 1100, 6000, 16_000]))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.connection.client.set("{clock}:now", self.now)

    @rule(
        target=held,
        queues=st.permutations(QUEUES),
        worker=st.sampled_from(WORKERS),
        limit=st.integers(1, 4),
        lease=st.sampled_from([1000, 15_000]),
        concurrency=st.sampled_from([0, 0, 2]),
        twice=st.booleans(),
    )
    def claim(self, queues: list[str], worker: str, limit: int, lease: int, concurrency: int, twice: bool) -> object:
        self.requests += 1
        token = f"{worker}-{self.requests}"
        wanted = [QueueClaim(queue, limit, concurrency) for queue in queues]
        result = self.engine.claim(wanted, worker=worker, request=token, lease=lease, limit=limit)
        if twice:
            again = self.engine.claim(wanted, worker=worker, request=token, lease=lease, limit=limit)
            assert sorted(job.id for job in again.jobs) == sorted(job.id for job in result.jobs)
        self.check_claim(queues, limit, concurrency, result.jobs)
        for job in result.jobs:
            model = self.jobs[job.id]
            model.state, model.token, model.lease_until = "active", token, self.now + lease
        return multiple(*(Held(job.queue, job.id, token) for job in result.jobs))

    def check_claim(self, queues: list[str], limit: int, concurrency: int, jobs: tuple[ClaimedJob, ...]) -> None:
        for queue in queues:
            if self.is_paused(queue):
                continue
            due = sorted(self.of(queue, "delayed").items(), key=lambda item: (item[1].due, item[0]))
            for _, job in due:
                if job.due <= self.now:
                    self.place(job)
        room = {}
        for queue in queues:
            free = 0 if self.is_paused(queue) else len(self.of(queue, "waiting"))
            room[queue] = max(0, min(free, concurrency - len(self.of(queue, "active")))) if concurrency else free
        assert len(jobs) == min(limit, sum(room.values())), "claimed neither too few nor too many"
        for queue in queues:
            got = [job.id for job in jobs if job.queue == queue]
            first = sorted(self.of(queue, "waiting").items(), key=lambda item: (item[1].rank, item[1].order))
            assert got == [job_id for job_id, _ in first[: len(got)]], "priority first, first in first out within"
            assert len(got) <= room[queue]

    @rule(lease=consumes(held), how=st.sampled_from(["c", "f", "r", "r0", "d", "l"]))
    def finish(self, lease: Held, how: str) -> None:
        job = self.jobs.get(lease.id)
        valid = job is not None and job.state == "active" and job.token == lease.token
        delay = {"r": 700, "d": 300}.get(how, 0)
        ended = Finish(
            lease.queue, lease.id, lease.token, Outcome(how[0]), error="no" if how != "c" else "", delay=delay
        )
        assert self.engine.finish([ended], retention=RETENTION)[0] == [valid], "only the holder of the lease ends a job"
        assert self.engine.finish([ended], retention=RETENTION)[0] == [False], "and only once"
        if not valid or job is None:
            return
        if how == "c":
            self.end(job, "completed")
        elif how == "f" or job.cancelled:
            self.end(job, "failed")
            job.failures += how != "c"
        elif how in ("r", "d"):
            job.state, job.token, job.due = "delayed", "", self.now + delay
            job.failures += how == "r"
        elif how == "r0":
            job.failures += 1
            self.place(job)
        else:
            job.state, job.token = "waiting", ""

    @rule(lease=held, length=st.sampled_from([1000, 15_000]))
    def renew(self, lease: Held, length: int) -> None:
        job = self.jobs.get(lease.id)
        valid = job is not None and job.state == "active" and job.token == lease.token
        answer = self.engine.renew([Lease(lease.queue, lease.id, lease.token)], lease=length)[0]
        if not valid or job is None:
            assert answer is Renewal.LOST
            return
        assert answer is (Renewal.CANCELLED if job.cancelled else Renewal.HELD)
        job.lease_until = self.now + length

    @rule()
    def recover(self) -> None:
        late = {
            job_id: job for job_id, job in self.jobs.items() if job.state == "active" and job.lease_until <= self.now
        }
        assert self.engine.recover(QUEUES, max_stalled=MAX_STALLED) == len(late)
        for job in late.values():
            job.stalled += 1
            if job.cancelled or job.stalled > MAX_STALLED:
                self.end(job, "failed")
            else:
                job.state, job.token = "waiting", ""

    @rule(job_id=ids)
    def retry(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None:
            self.refused(JobNotFound, self.engine.retry, job_id)
        elif job.state not in ENDED:
            self.refused(Conflict, self.engine.retry, job_id)
        else:
            self.engine.retry(job.queue, job_id)
            self.place(job)
            job.failures = job.stalled = 0
            job.cancelled = False

    @rule(job_id=ids, delay=st.sampled_from([0, 900]))
    def promote(self, job_id: str, delay: int) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.state != "delayed":
            self.refused((JobNotFound, Conflict), self.engine.promote, job_id)
        elif delay:
            self.engine.reschedule(job.queue, job_id, delay)
            job.due = self.now + delay
        else:
            self.engine.promote(job.queue, job_id)
            self.place(job)

    @rule(job_id=ids)
    def remove(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.state == "active":
            self.refused((JobNotFound, Conflict), self.engine.remove, job_id)
        else:
            self.engine.remove(job.queue, job_id)
            self.forget([job_id])

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.state in ENDED:
            self.refused((JobNotFound, Conflict), lambda queue, one: self.engine.cancel(queue, one, "ops"), job_id)
            return
        assert self.engine.cancel(job.queue, job_id, "ops") is JobState(job.state)
        if job.state == "active":
            job.cancelled = True
        else:
            self.end(job, "failed")

    @rule(queue=queue_names, duration=st.sampled_from([None, 800]))
    def pause(self, queue: str, duration: int | None) -> None:
        self.engine.pause(queue, by="ops", duration=duration)
        self.paused[queue] = None if duration is None else self.now + duration

    @rule(queue=queue_names)
    def resume(self, queue: str) -> None:
        self.engine.resume(queue)
        self.paused.pop(queue, None)

    @rule(queue=queue_names, budget=st.integers(1, 3))
    def empty(self, queue: str, budget: int) -> None:
        cutoff = self.now - 1
        doomed = {job_id for job_id, job in self.of(queue, "waiting", "delayed").items() if job.created <= cutoff}
        moved, offset = 0, 0
        for _ in range(200):
            result = self.engine.empty(queue, cutoff=cutoff, offset=offset, budget=budget)
            moved, offset = moved + result.moved, offset + result.skipped
            if not result.remaining:
                break
        assert moved == len(doomed)
        self.forget(doomed)

    @rule(queue=queue_names, state=st.sampled_from(ENDED), grace=st.sampled_from([0, 1000]))
    def clean(self, queue: str, state: str, grace: int) -> None:
        before = self.now - grace
        doomed = {job_id for job_id, job in self.of(queue, state).items() if job.finished <= before}
        result = self.engine.clean(queue, JobState(state), before=before)
        assert (result.moved, result.remaining) == (len(doomed), 0)
        self.forget(doomed)

    @rule(queue=queue_names)
    def retry_all(self, queue: str) -> None:
        failed = self.of(queue, "failed")
        result = self.engine.retry_all(queue, JobState.FAILED, cutoff=self.now)
        assert (result.moved, result.remaining) == (len(failed), 0)
        for job_id, job in sorted(failed.items(), key=lambda item: (item[1].finished, item[0])):
            assert job_id in self.jobs
            self.place(job)
            job.failures = job.stalled = 0
            job.cancelled = False

    def refused(self, error: type[Exception] | tuple[type[Exception], ...], act: object, job_id: str) -> None:
        job = self.jobs.get(job_id)
        with pytest.raises(error):
            act(job.queue if job else "email", job_id)  # type: ignore[operator]

    def forget(self, doomed: object) -> None:
        for job_id in list(doomed):  # type: ignore[call-overload]
            del self.jobs[job_id]
            self.gone.add(job_id)

    # --- what must always be true ---

    @invariant()
    def each_id_is_in_exactly_one_state(self) -> None:
        if not hasattr(self, "jobs"):
            return
        client = self.connection.client
        for queue in QUEUES:
            base = f"{{cloudq:{queue}}}"
            stored: dict[str, str] = {}
            for state, suffix in zip(("waiting", "delayed", "active", "completed", "failed"), "wdacf", strict=True):
                for member in client.zrange(f"{base}:{suffix}", 0, -1):
                    assert member.decode() not in stored, "in two states"
                    stored[member.decode()] = state
            assert stored == {job_id: job.state for job_id, job in self.jobs.items() if job.queue == queue}
            records = {key.decode().rpartition(":")[2] for key in client.keys(f"{base}:j:*")}
            payloads = {key.decode().rpartition(":")[2] for key in client.keys(f"{base}:p:*")}
            assert records == payloads == set(stored), "nothing accepted disappears and nothing removed stays"

    @invariant()
    def readers_agree(self) -> None:
        if not hasattr(self, "jobs"):
            return
        for status in self.reader.status(QUEUES):
            paused = self.is_paused(status.name)
            due = [job for job in self.of(status.name, "delayed").values() if job.due <= self.now] if paused else []
            waiting = len(self.of(status.name, "waiting"))
            counts = status.counts
            assert counts.waiting == (0 if paused else waiting)
            assert counts.paused == (waiting + len(due) if paused else 0)
            assert counts.delayed == len(self.of(status.name, "delayed")) - len(due)
            assert counts.active == len(self.of(status.name, "active"))
            assert (counts.completed, counts.failed) == tuple(len(self.of(status.name, state)) for state in ENDED)

    @invariant()
    def attempts_are_counted(self) -> None:
        if not hasattr(self, "jobs"):
            return
        for job_id, job in self.jobs.items():
            record = self.connection.client.hmget(f"{{cloudq:{job.queue}}}:j:{job_id}", "a", "st")
            assert [int(value or 0) for value in record] == [job.failures, job.stalled]


def test_any_sequence_of_verbs(connection: Connection) -> None:
    machine = type("Machine", (Verbs,), {"connection": connection})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize="CI" in os.environ,
        ),
    )

"""What the engine must hold, as plain dicts, and the invariants that compare it with Redis after every step.

The rules that act on both are in `rules_workers.py` (what workers and producers do) and `rules_people.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.examination import Examination
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine

QUEUES = ("email", "sms", "device-operation")
NAMES = ("send", "sweep")
START = 1_800_000_000_000
SUFFIXES = {"waiting": "w", "delayed": "d", "active": "a", "completed": "c", "failed": "f"}
ENDED = ("completed", "failed")

IDS = Bundle("ids")  # every id ever accepted; its job may be gone
queue_names = st.sampled_from(QUEUES)


@dataclass
class Model:
    """What must be so for one job."""

    queue: str
    name: str
    rank: int
    state: str
    created: int
    order: int = 0
    due: int = 0
    finished: int = 0
    token: str = ""
    lease_until: int = 0
    claimed: bool = False
    failures: int = 0
    stalled: int = 0
    cancelled: bool = False
    scrubbed: bool = False
    kept: bool = True  # False: forgotten at its end
    error: str = ""
    result: bool = False
    history: int = 0
    logs: int = 0
    checkpoint: bytes | None = None


@dataclass(frozen=True)
class Held:
    """A lease that somebody believes to hold; it may be stale."""

    queue: str
    id: str
    token: str


@dataclass
class Trashed:
    """A job as it stood before a person took it away, or back to work (`place`: where that put it)."""

    id: str
    job: Model
    place: int | None = None


class World(RuleBasedStateMachine):
    """Redis and the model of it. Time stands still unless a rule moves it."""

    connection: Connection  # set by the test

    @initialize()
    def begin(self) -> None:
        client = self.connection.client
        client.flushall()
        client.set("{clock}:now", START)
        self.now = START
        self.engine = QueueEngine(self.connection, clock="clock_fixed")
        self.reader = QueueReader(self.connection, clock="clock_fixed")
        self.jobs: dict[str, Model] = {}
        self.trash: dict[str, Model] = {}
        self.acts: dict[str, list[Trashed]] = {}
        self.leases: list[Held] = []  # every one ever given
        self.homes: dict[str, str] = {}  # every id ever accepted -> its queue
        self.unique: set[str] = set()
        self.paused: dict[str, int | None] = {}
        self.starts: dict[str, list[int]] = {}  # of a queue's limiter, and of that over all under ""
        self.places: dict[tuple[str, str], list[int]] = {}  # taken by `limit`
        self.locks: dict[tuple[str, str], tuple[str, str]] = {}
        self.refused_lock: dict[tuple[str, str], set[str]] = {}
        self.ended: Counter[tuple[str, str, str]] = Counter()  # queue, job name, c f x r
        self.sequence = 0
        self.requests = 0

    def teardown(self) -> None:
        """Whatever was done: the doctor finds nothing to mend."""
        if hasattr(self, "jobs"):
            examination = Examination(self.connection, clock="clock_fixed")
            for queue in QUEUES:
                assert not examination.spoiled(queue)
                for ids in examination.standing(queue):
                    flaws = [flaw for flaw in examination.judge(queue, ids) if flaw.kind != "lapsed"]
                    assert not flaws

    # --- what the model knows ---

    def of(self, queue: str, *states: str) -> dict[str, Model]:
        return {job_id: job for job_id, job in self.jobs.items() if job.queue == queue and job.state in states}

    def holder(self, lease: Held) -> Model | None:
        """The job, where the lease is good."""
        job = self.jobs.get(lease.id)
        return job if job is not None and job.state == "active" and job.token == lease.token else None

    def lease(self, pick: int) -> Held:
        """One of those that are good, by an even pick where there is any; else one of all."""
        good = [lease for lease in self.leases if self.holder(lease)]
        some = good if good and pick % 2 == 0 else self.leases
        return some[-1 - pick // 2 % len(some)]

    def is_paused(self, queue: str) -> bool:
        if queue not in self.paused:
            return False
        until = self.paused[queue]
        return until is None or until > self.now

    def wait(self, job: Model) -> None:
        """At the end of its priority."""
        self.sequence += 1
        job.order = self.sequence
        job.state, job.token = "waiting", ""

    def end(self, job_id: str, state: str, counted: str, error: str = "") -> None:
        job = self.jobs[job_id]
        self.ended[job.queue, job.name, counted] += 1
        job.state, job.token, job.finished, job.error = state, "", self.now, error
        if not job.kept:
            del self.jobs[job_id]

    def take_away(self, job_ids: Iterable[str], act: str) -> None:
        """Into the trash, or out of the world where there is no act."""
        for job_id in list(job_ids):
            job = self.jobs.pop(job_id)
            if act:
                self.trash[job_id] = job
                self.acts.setdefault(act, []).append(Trashed(job_id, job))

    # --- what must always be true ---

    @invariant()
    def each_id_is_in_exactly_one_state(self) -> None:
        if not hasattr(self, "jobs"):
            return
        client = self.connection.client
        for queue in QUEUES:
            base = f"{{cloudq:{queue}}}"
            stored: dict[str, str] = {}
            for state, suffix in SUFFIXES.items():
                for member in client.zrange(f"{base}:{suffix}", 0, -1):
                    assert member.decode() not in stored, "in two states"
                    stored[member.decode()] = state
            assert stored == {job_id: job.state for job_id, job in self.jobs.items() if job.queue == queue}
            trashed = {job_id for job_id, job in self.trash.items() if job.queue == queue}
            for family in ("j", "p"):
                kept = {key.decode().rpartition(":")[2] for key in client.keys(f"{base}:{family}:*")}
                assert kept == set(stored) | trashed, "nothing accepted disappears and nothing removed stays"

    @invariant()
    def jobs_wait_in_their_order(self) -> None:
        if not hasattr(self, "jobs"):
            return
        for queue in QUEUES:
            stored = self.connection.client.zrange(f"{{cloudq:{queue}}}:w", 0, -1)
            wanted = sorted(self.of(queue, "waiting").items(), key=lambda item: (item[1].rank, item[1].order))
            assert [member.decode() for member in stored] == [job_id for job_id, _ in wanted]

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
    def records_agree(self) -> None:
        if not hasattr(self, "jobs"):
            return
        pipe = self.connection.client.pipeline(transaction=False)
        for job_id, job in self.jobs.items():
            base = f"{{cloudq:{job.queue}}}"
            pipe.hmget(f"{base}:j:{job_id}", "a", "st", "tr")
            pipe.mget(f"{base}:x:{job_id}", f"{base}:k:{job_id}")
            pipe.hexists(f"{base}:j:{job_id}", "o")
            pipe.exists(f"{base}:o:{job_id}")
            pipe.llen(f"{base}:e:{job_id}")
            pipe.llen(f"{base}:l:{job_id}")
            pipe.pttl(f"{base}:j:{job_id}")
        answers = iter(pipe.execute())
        for job in self.jobs.values():
            failures, stalled, trashed = next(answers)
            assert (int(failures or 0), int(stalled or 0), trashed) == (job.failures, job.stalled, None)
            error, checkpoint = next(answers)
            assert ((error or b"").decode(), checkpoint) == (job.error, job.checkpoint)
            assert next(answers) + next(answers) == job.result  # it lies in one place
            assert [next(answers) for _ in range(3)] == [job.history, job.logs, -1]

    @invariant()
    def counters_agree(self) -> None:
        if not hasattr(self, "jobs"):
            return
        stored: Counter[tuple[str, str, str]] = Counter()
        for queue in QUEUES:
            for field, value in self.connection.client.hgetall(f"{{cloudq:{queue}}}:t").items():
                name, _, what = field.decode().partition("|")
                if what in ("c", "f", "x", "r"):
                    stored[queue, name, what] = int(value)
        assert stored == self.ended

"""What producers and workers do, as rules on Redis and on the model."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.records import (
    ClaimedJob,
    FailureKind,
    Finish,
    Lease,
    NewJob,
    Outcome,
    QueueClaim,
    Renewal,
    Retention,
)

from .model import ENDED, IDS, NAMES, QUEUES, Held, Model, World, queue_names

WORKERS = ("w1", "w2", "w3")
MAX_STALLED = 3
KEEP_ALL = Retention(completed_age=0, completed_count=0, failed_age=0)
KEEP_FEW = Retention(completed_age=5000, completed_count=2, failed_age=5000)
WINDOW = 20_000  # ms of every limiter: keys expire by the real clock, which must not come near it
KEYS = ("a", "b")  # of limits and locks

delays = st.sampled_from([0, 0, 0, 500, 5000])
outcomes = st.sampled_from(Outcome)
picks = st.integers(0, 30)
holding = precondition(lambda world: bool(world.leases))


class ProducerRules(World):
    @rule(target=IDS, queue=queue_names, name=st.sampled_from(NAMES), rank=st.integers(-3, 10), delay=delays)
    def add(self, queue: str, name: str, rank: int, delay: int) -> str:
        return self.accept(queue, name=name, rank=rank, delay=delay)

    @rule(target=IDS, queue=queue_names, kept=st.booleans(), unique=st.booleans())
    def add_with_options(self, queue: str, kept: bool, unique: bool) -> str:
        return self.accept(queue, kept=kept, unique=unique)

    @rule(target=IDS, queues=st.lists(queue_names, min_size=2, max_size=4), delay=delays)
    def add_in_bulk(self, queues: list[str], delay: int) -> object:
        new = [self.draft(f"j{len(self.homes) + at}", queue, delay=delay) for at, queue in enumerate(queues)]
        assert self.engine.add_many([*new, *new]) == [True] * len(new) + [False] * len(new)
        # The jobs of one queue travel together.
        for job in sorted(new, key=lambda job: queues.index(job.queue)):
            self.note_added(job)
        return multiple(*(job.id for job in new))

    @rule(job_id=IDS, unique=st.booleans(), rerun=st.booleans())
    def add_again(self, job_id: str, unique: bool, rerun: bool) -> None:
        there = self.jobs.get(job_id)
        job = self.draft(job_id, self.homes[job_id], unique=unique, rerun=rerun)
        known = unique and job_id in self.unique
        fresh = (there is None or (rerun and there.state in ENDED)) and not known
        assert self.engine.add(job) is fresh, "the same id is the same job"
        if fresh:
            self.trash.pop(job_id, None)
            self.note_added(job)

    def accept(self, queue: str, *, kept: bool = True, **fields: object) -> str:
        job = self.draft(f"j{len(self.homes)}", queue, kept=kept, **fields)
        assert self.engine.add(job)
        self.note_added(job)
        return job.id

    def draft(self, job_id: str, queue: str, *, name: str = "send", kept: bool = True, **fields: object) -> NewJob:
        keep = "" if kept else "0"
        message = pack_call((job_id,), {})
        return NewJob(job_id, queue, name, message, keep_completed=keep, keep_failed=keep, **fields)  # type: ignore[arg-type]

    def note_added(self, job: NewJob) -> None:
        self.homes[job.id] = job.queue
        if job.unique:
            self.unique.add(job.id)
        state = "delayed" if job.delay else "waiting"
        self.sequence += 1
        self.jobs[job.id] = Model(
            job.queue,
            job.name,
            job.rank,
            state,
            self.now,
            order=self.sequence,
            due=self.now + job.delay,
            kept=job.keep_completed != "0",
        )

    @rule(ms=st.sampled_from([1, 400, 1100, 6000, 16_000]))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.connection.client.set("{clock}:now", self.now)


class ClaimRules(World):
    @rule(
        queues=st.permutations(QUEUES),
        worker=st.sampled_from(WORKERS),
        limit=st.integers(1, 4),
        lease=st.sampled_from([1000, 15_000]),
        concurrency=st.sampled_from([0, 0, 2]),
        limiter=st.sampled_from([0, 0, 3]),
        limiter_of_all=st.sampled_from([0, 0, 5]),
        twice=st.booleans(),
    )
    def claim(
        self,
        queues: list[str],
        worker: str,
        limit: int,
        lease: int,
        concurrency: int,
        limiter: int,
        limiter_of_all: int,
        twice: bool,
    ) -> None:
        wanted = [QueueClaim(queue, limit, concurrency, limiter, WINDOW) for queue in queues]
        self.engine.limiter = (limiter_of_all, WINDOW)
        self.take(wanted, worker, limit, lease, twice=twice)

    def take(self, wanted: list[QueueClaim], worker: str, limit: int, lease: int, *, twice: bool) -> list[Held]:
        self.requests += 1
        token = f"{worker}-{self.requests}"
        result = self.engine.claim(wanted, worker=worker, request=token, lease=lease, limit=limit)
        if twice:
            again = self.engine.claim(wanted, worker=worker, request=token, lease=lease, limit=limit)
            assert sorted(job.id for job in again.jobs) == sorted(job.id for job in result.jobs)
        self.check_claim(wanted, min(limit, self.left("", self.engine.limiter[0])), result.jobs)
        limited = {queue.queue for queue in wanted if queue.limit_max}
        for claimed in result.jobs:
            job = self.jobs[claimed.id]
            assert (claimed.failures, claimed.stalled) == (job.failures, job.stalled)
            assert claimed.checkpoint == job.checkpoint
            job.state, job.token, job.lease_until, job.claimed = "active", token, self.now + lease, True
            if claimed.queue in limited:
                self.starts.setdefault(claimed.queue, []).append(self.now)
            if self.engine.limiter[0]:
                self.starts.setdefault("", []).append(self.now)
        taken = [Held(job.queue, job.id, token) for job in result.jobs]
        self.leases += taken
        return taken

    def left(self, queue: str, limiter: int) -> int:
        """Starts that a limiter leaves now."""
        used = [start for start in self.starts.get(queue, []) if start > self.now - WINDOW]
        return max(0, limiter - len(used)) if limiter else 1000

    def check_claim(self, wanted: list[QueueClaim], most: int, jobs: tuple[ClaimedJob, ...]) -> None:
        room = {claim.queue: self.room(claim) for claim in wanted}
        assert len(jobs) == min(most, sum(room.values())), "claimed neither too few nor too many"
        for queue, most_here in room.items():
            got = [job.id for job in jobs if job.queue == queue]
            first = sorted(self.of(queue, "waiting").items(), key=lambda item: (item[1].rank, item[1].order))
            assert got == [job_id for job_id, _ in first[: len(got)]], "priority first, first in first out within"
            assert len(got) <= most_here

    def room(self, claim: QueueClaim) -> int:
        """How many jobs the queue may give, once those that are due wait."""
        queue = claim.queue
        if self.is_paused(queue):
            return 0
        for _, job in sorted(self.of(queue, "delayed").items(), key=lambda item: (item[1].due, item[0])):
            if job.due <= self.now:
                self.wait(job)
        free = min(claim.want, len(self.of(queue, "waiting")))
        if claim.concurrency:
            free = max(0, min(free, claim.concurrency - len(self.of(queue, "active"))))
        return min(free, self.left(queue, claim.limit_max))


class RunRules(ProducerRules, ClaimRules):
    """What the holder of a lease does, or who believes to be it."""

    @holding
    @rule(
        pick=picks,
        outcome=outcomes,
        delay=st.sampled_from([0, 700]),
        counted=st.booleans(),
        kind=st.sampled_from([FailureKind.ERROR, FailureKind.REVOKED]),
        retention=st.sampled_from([KEEP_ALL, KEEP_ALL, KEEP_FEW]),
        follow_up=st.sampled_from([None, None, *QUEUES]),
    )
    def finish(
        self,
        pick: int,
        outcome: Outcome,
        delay: int,
        counted: bool,
        kind: FailureKind,
        retention: Retention,
        follow_up: str | None,
    ) -> None:
        following = (self.draft(f"j{len(self.homes)}", follow_up),) if follow_up else ()
        self.conclude(
            self.lease(pick), outcome, retention, delay=delay, counted=counted, kind=kind, follow_ups=following
        )

    @rule(queue=queue_names, ends=st.lists(st.tuples(outcomes, st.booleans()), min_size=1, max_size=6))
    def run(self, queue: str, ends: list[tuple[Outcome, bool]]) -> None:
        """One job after the other, from its claim to its finish without anything between."""
        self.engine.limiter = (0, 0)
        for outcome, counted in ends:
            for lease in self.take([QueueClaim(queue, 1)], "w1", 1, 15_000, twice=False):
                self.conclude(lease, outcome, KEEP_ALL, counted=counted)

    def conclude(self, lease: Held, outcome: Outcome, retention: Retention, **fields: object) -> None:
        job, bad = self.holder(lease), outcome in (Outcome.FAILED, Outcome.RETRY)
        result = b"1" * (64 + lease.id.encode()[-1] % 2)  # what a record keeps, and one byte more
        ended = Finish(
            lease.queue,
            lease.id,
            lease.token,
            outcome,
            result=result if outcome is Outcome.COMPLETED else None,
            error="no" if bad else "",
            detail=b"{}" if bad else b"",
            **fields,  # type: ignore[arg-type]
        )
        keep = dict.fromkeys(QUEUES, retention)
        assert self.engine.finish([ended], retention=keep)[0] == [job is not None], "only by the holder of the lease"
        assert self.engine.finish([ended], retention=keep)[0] == [False], "and only once"
        if job is None:
            return
        for new in ended.follow_ups:
            self.note_added(new)
        self.note_finish(lease.id, job, ended)
        if job.state in ENDED and (job.kept or job.state == "failed"):
            self.retain(job.queue, retention)

    def note_finish(self, job_id: str, job: Model, ended: Finish) -> None:
        outcome = ended.outcome
        if outcome is Outcome.COMPLETED:
            job.result = True
            self.end(job_id, "completed", "c")
        elif outcome is Outcome.FAILED or job.cancelled:
            job.failures += ended.counted
            job.history += outcome is Outcome.FAILED
            excluded = job.cancelled or ended.kind is FailureKind.REVOKED
            self.end(job_id, "failed", "x" if excluded else "f", "cancelled by ops" if job.cancelled else "no")
        else:
            if outcome is Outcome.RETRY:
                self.ended[job.queue, job.name, "r"] += 1
                job.failures += ended.counted
                job.history += 1
                job.error = "no"
            if ended.delay:
                job.state, job.token, job.due = "delayed", "", self.now + ended.delay
            elif outcome is Outcome.RELEASE:
                job.state, job.token = "waiting", ""
            else:
                self.wait(job)

    def retain(self, queue: str, keep: Retention) -> None:
        """The oldest beyond the count go, and what is too old; nothing here is more than one call may take."""

        def finished(state: str) -> list[tuple[str, Model]]:
            return sorted(self.of(queue, state).items(), key=lambda item: (item[1].finished, item[0]))

        doomed = set()
        if keep.completed_count:
            beyond = len(finished("completed")) - keep.completed_count
            doomed |= {job_id for job_id, _ in finished("completed")[: max(0, min(beyond, 10))]}
        for state, age in (("completed", keep.completed_age), ("failed", keep.failed_age)):
            old = [one for one in finished(state) if one[0] not in doomed and one[1].finished <= self.now - age]
            doomed |= {job_id for job_id, _ in old[: 10 if age else 0]}
        self.take_away(doomed, "")

    @holding
    @rule(pick=picks, length=st.sampled_from([1000, 15_000]))
    def renew(self, pick: int, length: int) -> None:
        lease = self.lease(pick)
        job = self.holder(lease)
        answer = self.engine.renew([Lease(lease.queue, lease.id, lease.token)], lease=length)[0]
        assert answer is self.news(job)
        if job is not None:
            job.lease_until = self.now + length

    @holding
    @rule(pick=picks, what=st.sampled_from(["progress", "log", "checkpoint", "scrub"]))
    def tell(self, pick: int, what: str) -> None:
        lease = self.lease(pick)
        job = self.holder(lease)
        own = Lease(lease.queue, lease.id, lease.token)
        if what == "progress":
            assert self.engine.progress(own, 50, "half") is self.news(job)
            return
        act = {
            "log": lambda: self.engine.log(own, "a line"),
            "checkpoint": lambda: self.engine.checkpoint(own, b"5"),
            "scrub": lambda: self.engine.scrub(own, b"{}"),
        }[what]
        assert act() is (job is not None)
        if job is not None:
            job.logs += what == "log"
            job.checkpoint = b"5" if what == "checkpoint" else job.checkpoint
            job.scrubbed = job.scrubbed or what == "scrub"

    def news(self, job: Model | None) -> Renewal:
        if job is None:
            return Renewal.LOST
        return Renewal.CANCELLED if job.cancelled else Renewal.HELD

    @holding
    @rule(pick=picks, key=st.sampled_from(KEYS), count=st.integers(1, 2))
    def limit(self, pick: int, key: str, count: int) -> None:
        lease = self.lease(pick)
        answer = self.engine.limit(Lease(lease.queue, lease.id, lease.token), key, count, WINDOW)
        if self.holder(lease) is None:
            assert answer == -1
            return
        taken = [at for at in self.places.get((lease.queue, key), []) if at > self.now - WINDOW]
        if len(taken) < count:
            assert answer == 0
            taken.append(self.now)
        else:
            assert answer == taken[0] + WINDOW - self.now
        self.places[lease.queue, key] = taken

    @holding
    @rule(pick=picks, key=st.sampled_from(KEYS))
    def lock(self, pick: int, key: str) -> None:
        lease = self.lease(pick)
        answer = self.engine.lock(Lease(lease.queue, lease.id, lease.token), key)
        if self.holder(lease) is None:
            assert answer is None
            return
        mine, owned = (lease.id, lease.token), self.locks.get((lease.queue, key))
        owner = owned and self.holder(Held(lease.queue, *owned))
        refused = self.refused_lock.setdefault((lease.queue, key), set())
        if owned != mine and owner and owner.lease_until > self.now:
            assert answer is False, "owned by another live job"
            refused.add(lease.id)
        else:
            assert answer is True
            self.locks[lease.queue, key] = mine
            refused.discard(lease.id)

    @holding
    @rule(pick=picks, key=st.sampled_from(KEYS))
    def unlock(self, pick: int, key: str) -> None:
        lease = self.lease(pick)
        owned = self.locks.get((lease.queue, key)) == (lease.id, lease.token)
        assert self.engine.unlock(Lease(lease.queue, lease.id, lease.token), key) is owned
        if not owned:
            return
        del self.locks[lease.queue, key]
        delayed = self.of(lease.queue, "delayed")
        roused = [one for one in self.refused_lock.pop((lease.queue, key), ()) if one in delayed]
        # In which order they were put off is not kept.
        scores = {one: self.connection.client.zscore(f"{{cloudq:{lease.queue}}}:w", one) % 2**42 for one in roused}
        for job_id in sorted(roused, key=lambda one: scores[one]):
            self.wait(self.jobs[job_id])

    @rule()
    def recover(self) -> None:
        late = {one: job for one, job in self.jobs.items() if job.state == "active" and job.lease_until <= self.now}
        assert self.engine.recover(QUEUES, max_stalled=MAX_STALLED) == len(late)
        for job_id, job in late.items():
            job.stalled += 1
            job.history += 1
            if job.cancelled:
                self.end(job_id, "failed", "x", "cancelled by ops")
            elif job.stalled > MAX_STALLED:
                self.end(job_id, "failed", "f", f"stalled: its worker died or froze {job.stalled} times")
            else:
                job.state, job.token = "waiting", ""

"""QueueEngine: one method per verb that writes; each transition is one Lua script, atomic.

Here is the life of a job between a producer and a worker; acts.py has what people do, calls.py how scripts are run.
Reads are in queries.py, Huey's key-value storage in keyvalue.py. May not import Huey, Textual or a web framework.
Thread-safe: it keeps no state but the connection pools and the script cache. Every method raises QueueUnavailable
when Redis cannot be used.

A lost connection leaves open whether a script ran. The verbs that say the same thing twice (add by id, claim by
request id, finish and renew by token, reads) are tried once more; the others are left to the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cloudq_tui.engine import keys
from cloudq_tui.engine.acts import BUDGET, ActVerbs
from cloudq_tui.engine.arguments import (
    add_arguments,
    claim_arguments,
    finish_arguments,
    read_claim,
)
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.records import (
    ClaimResult,
    Finish,
    Lease,
    NewJob,
    Pending,
    QueueClaim,
    Renewal,
    Retention,
)
from cloudq_tui.engine.scripts import Sent

_CHUNK = 100  # jobs of one queue in one script call: about 1 ms of Redis
_FIRST = 2  # add's answer for the first job a queue ever had
DEDUPE_TTL = 24 * 3600 * 1000


class QueueEngine(ActVerbs):
    """The verbs on one Redis under one key prefix.

    `dedupe_ttl` in ms; `limiter` is (starts, ms) over all queues together, (0, 0) for none; `clock` names the
    scripts' source of time.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str = "cloudq",
        dedupe_ttl: int = DEDUPE_TTL,
        limiter: tuple[int, int] = (0, 0),
        clock: str = "clock",
    ) -> None:
        super().__init__(connection, prefix, clock)
        self._dedupe_ttl = dedupe_ttl
        self.limiter = limiter

    # --- the life of a job ---

    def add(self, job: NewJob) -> bool:
        """Add one job; one round trip. False when the id was there already. Raises QueueFull over maxmemory."""
        added = self._repeatable("add", [self._base(job.queue)], [1, *add_arguments(job, self._dedupe_ttl)])[0]
        if added == _FIRST:
            self._introduce(job.queue)
        return bool(added)

    def add_many(self, jobs: Iterable[NewJob]) -> list[bool]:
        """Add jobs in as few round trips as their number allows; one bool each, as `add`.

        They are taken from `jobs` while Redis works on those before. Raises QueueFull when Redis refused some; those
        of the chunks before stay added, and adding all again is safe where their ids are the same.
        """
        answers: list[bool] = []
        chunks: dict[str, list[tuple[int, NewJob]]] = {}
        calls: list[tuple[list[tuple[int, NewJob]], Pending[list[int]]]] = []  # on its way, at most one

        def settle() -> None:
            while calls:
                chunk, pending = calls.pop()  # also where it is refused: an answer can be read once
                replies = pending()
                for (at, _), reply in zip(chunk, replies, strict=True):
                    answers[at] = bool(reply)
                if _FIRST in replies:
                    self._introduce(chunk[0][1].queue)

        def send(chunk: list[tuple[int, NewJob]]) -> None:
            args: list[Any] = [len(chunk)]
            for _, job in chunk:
                args += add_arguments(job, self._dedupe_ttl)
            settle()
            calls.append((chunk, self._begin_add(chunk[0][1].queue, args)))

        try:
            for at, job in enumerate(jobs):
                answers.append(False)
                chunk = chunks.setdefault(job.queue, [])
                chunk.append((at, job))
                if len(chunk) == _CHUNK:
                    send(chunks.pop(job.queue))
            for chunk in chunks.values():
                send(chunk)
        finally:
            settle()
        return answers

    def _begin_add(self, queue: str, args: list[Any]) -> Pending[list[int]]:
        return self._begin("add", [self._base(queue)], args)

    def claim(
        self,
        queues: Sequence[QueueClaim],
        *,
        worker: str,
        request: str,
        lease: int,
        limit: int,
        space: str = "",
    ) -> ClaimResult:
        """Take up to `limit` jobs for `lease` ms; queues in the order they are to be served.

        Repeating the call with the same `request` returns the same jobs. `space` names the Huey instance whose
        revocations are read along.
        """
        bases = [self._base(queue.queue) for queue in queues]
        args = self._claim(queues, worker, request, lease, limit, space)
        return read_claim(self._repeatable("claim", bases, args), queues, request)

    def finish(
        self,
        finishes: Sequence[Finish],
        *,
        retention: dict[str, Retention] | None = None,
        claim: Sequence[QueueClaim] = (),
        worker: str = "",
        request: str = "",
        lease: int = 0,
        limit: int = 0,
        space: str = "",
    ) -> tuple[list[bool], ClaimResult]:
        """End runs and, by choice, claim in the same call. False for each finish whose lease was lost.

        A repeated call answers False for what the first one already ended: nothing happens twice.
        """
        return self.begin_finish(
            finishes,
            retention=retention,
            claim=claim,
            worker=worker,
            request=request,
            lease=lease,
            limit=limit,
            space=space,
        )()

    def begin_finish(
        self,
        finishes: Sequence[Finish],
        *,
        retention: dict[str, Retention] | None = None,
        claim: Sequence[QueueClaim] = (),
        worker: str = "",
        request: str = "",
        lease: int = 0,
        limit: int = 0,
        space: str = "",
    ) -> Pending[tuple[list[bool], ClaimResult]]:
        """Send a `finish` now; what is returned waits for its answer when called, and must be called once."""
        queues, args = finish_arguments(finishes, retention or {}, claim, self._dedupe_ttl)
        args += [1, *self._claim(claim, worker, request, lease, limit, space)] if claim else [0]
        bases = [self._base(queue) for queue in queues]
        answer = self._begin("finish", [*bases, self._space(space) or self._base("")], args)

        def result() -> tuple[list[bool], ClaimResult]:
            held, claimed = answer()
            read = read_claim(claimed, claim, request) if claimed else ClaimResult((), None)
            return [bool(one) for one in held], read

        return Pending(result, answer.arrived)

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Block until one of the queues may have work, at most `timeout` seconds; True if woken."""
        wakes = [self._base(queue) + keys.SUFFIXES["wake"] for queue in queues]
        with self.connection.guard():
            return self.connection.blocking.bzpopmin(wakes, timeout=max(0.001, timeout)) is not None

    def wait_and_claim(
        self,
        queues: Sequence[QueueClaim],
        timeout: float,
        *,
        worker: str,
        request: str,
        lease: int,
        limit: int,
        space: str = "",
    ) -> ClaimResult:
        """`wait` for one of the queues, then `claim`, in one round trip: Redis claims as soon as the wait is over."""
        bases = [self._base(queue.queue) for queue in queues]
        args = self._claim(queues, worker, request, lease, limit, space)
        wait = ("BZPOPMIN", *(base + keys.SUFFIXES["wake"] for base in bases), max(0.001, timeout))
        with self.connection.guard():
            pool = self.connection.blocking.connection_pool
            answer = Sent(pool, self._scripts["claim"], bases, args, first=wait).answer()
        return read_claim(answer, queues, request)

    def stop_waiting(self) -> None:
        """Break off what waits here, so that nothing is claimed any more; it raises QueueUnavailable."""
        self.connection.blocking.connection_pool.disconnect()

    def renew(self, leases: Sequence[Lease], *, lease: int) -> list[Renewal]:
        """Extend exactly these leases to `lease` ms from now; each answer says if it is lost or cancelled."""
        if not leases:
            return []
        queues = list(dict.fromkeys(one.queue for one in leases))
        index = {queue: at + 1 for at, queue in enumerate(queues)}
        args: list[Any] = [lease]
        for one in leases:
            args += [index[one.queue], one.id, one.token]
        return [Renewal(answer) for answer in self._repeatable("renew", [self._base(queue) for queue in queues], args)]

    def recover(self, queues: Sequence[str], *, max_stalled: int = 3, budget: int = BUDGET) -> int:
        """Jobs whose lease ran out wait again in their old place, or fail as stalled; at most `budget` of them.

        Returns how many.
        """
        return int(self._repeatable("recover", [self._base(queue) for queue in queues], [max_stalled, budget]))

    def progress(self, lease: Lease, percent: int, step: str) -> Renewal:
        """Show progress (0 to 100) and a step of at most 60 bytes."""
        short = step.encode()[:60].decode(errors="ignore")
        return Renewal(self._repeatable("progress", [self._base(lease.queue)], [lease.id, lease.token, percent, short]))

    def log(self, lease: Lease, text: str) -> bool:
        """One line for the job's own log; False when the lease was lost."""
        return bool(self._once("log", [self._base(lease.queue)], [lease.id, lease.token, text]))

    def checkpoint(self, lease: Lease, data: bytes) -> bool:
        """Store data that survives retries; False when the lease was lost."""
        return bool(self._repeatable("checkpoint", [self._base(lease.queue)], [lease.id, lease.token, data]))

    def scrub(self, lease: Lease, message: bytes) -> bool:
        """Store another call in the place of one that held a used secret; False when the lease was lost.

        From then on the job cannot be retried.
        """
        return bool(self._repeatable("scrub", [self._base(lease.queue)], [lease.id, lease.token, message]))

    def limit(self, lease: Lease, key: str, count: int, per: int) -> int:
        """0 when one of `count` places in any `per` ms was taken, else ms until one frees; -1: lease lost."""
        return int(self._once("limit", [self._base(lease.queue)], [lease.id, lease.token, key, count, per]))

    def lock(self, lease: Lease, key: str) -> bool | None:
        """True when owned, False when another live job owns it, None when the lease was lost."""
        answer = self._repeatable("lock", [self._base(lease.queue)], [lease.id, lease.token, key])
        return None if answer < 0 else bool(answer)

    def unlock(self, lease: Lease, key: str) -> bool:
        """Give a lock back; False when it was not the caller's."""
        return bool(self._repeatable("unlock", [self._base(lease.queue)], [lease.id, lease.token, key]))

    def close(self) -> None:
        """Drop the connections; a later call opens new ones."""
        self.connection.close()

    # --- inner ---

    def _space(self, space: str) -> str:
        return keys.space_base(self.prefix, space) if space else ""

    def _claim(
        self, queues: Sequence[QueueClaim], worker: str, request: str, lease: int, limit: int, space: str
    ) -> list[Any]:
        return claim_arguments(
            queues,
            worker,
            request,
            lease,
            limit,
            space=self._space(space),
            shared=keys.shared_base(self.prefix),
            limiter=self.limiter,
        )

    def _introduce(self, queue: str) -> None:
        with self.connection.guard():
            self.connection.client.sadd(keys.shared_base(self.prefix) + keys.QUEUES, queue)

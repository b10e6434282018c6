"""QueueEngine on a Redis Cluster: what one script does on one server is done queue by queue, each in its own slot.

A queue is one slot, so every verb on one queue is as on one server. What this changes: a claim looks at all its
queues first and then takes from those with work; a finish leaves what belongs to other slots in its queue's outbox
(outbox.py); a wait looks at the wake markers every `LOOK` seconds, since no command waits on several slots. Calls go
out in one pipeline to each node (slots.py). A node that is away stops every call that needs it; nothing is lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from cloudq_tui.engine import keys
from cloudq_tui.engine.acts import BUDGET
from cloudq_tui.engine.arguments import (
    claim_arguments,
    finish_arguments,
    read_claim,
)
from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.outbox import Outbox, split
from cloudq_tui.engine.records import ClaimedJob, ClaimResult, Finish, Lease, Pending, QueueClaim, Renewal, Retention
from cloudq_tui.engine.slots import Call, SlotCalls, script_call
from cloudq_tui.engine.transitions import DEDUPE_TTL, QueueEngine
from cloudq_tui.errors import CloudqError, SettingsError

LOOK: Final = 0.025  # seconds between two looks of an idle worker
_REMEMBERED = 1000  # calls that failed in part, and may be repeated
_OfQueue = TypeVar("_OfQueue", Finish, Lease)
_Named = tuple[str, str, str]  # a lease: queue, id, token


class ClusterEngine(QueueEngine):
    """The verbs on one cluster under one key prefix. Raises SettingsError for a limiter over all queues: one that
    is exact needs all their keys in one place."""

    def __init__(
        self,
        connection: ClusterConnection,
        *,
        prefix: str = "cloudq",
        dedupe_ttl: int = DEDUPE_TTL,
        limiter: tuple[int, int] = (0, 0),
        clock: str = "clock",
    ) -> None:
        if limiter[0]:
            raise SettingsError(
                "worker.limiter: no limiter over all queues on a Redis Cluster, whose nodes share no counter; "
                "give each queue a limiter of its own"
            )
        super().__init__(connection, prefix=prefix, dedupe_ttl=dedupe_ttl, clock=clock)
        self._cluster = connection
        self._slots = SlotCalls(connection)
        self._outbox = Outbox(self._slots, prefix, self.add_many)
        self._asked: dict[str, dict[str, int]] = {}  # claims that failed in part: jobs asked of each queue
        self._ended: dict[_Named, bool] = {}  # answers of finishes whose call failed elsewhere

    def now(self) -> int:
        """The clock that is furthest ahead. Asks every master, so that an answer means that all of them work."""
        latest = 0
        for node in self._cluster.nodes():
            with node.guard():
                seconds, micros = node.client.time()
            latest = max(latest, int(seconds) * 1000 + int(micros) // 1000)
        return latest

    # --- adding and claiming ---

    def _begin_add(self, queue: str, args: list[Any]) -> Pending[list[int]]:
        return Pending(lambda: self._slots.run([self._call("add", queue, args)])[0])

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
        """As on one server, but not in one moment: a repeated call asks each queue for what it was asked before."""
        dues: list[int] = []
        wants = self._asked.get(request)
        if wants is None:
            ready = self._slots.run([self._call("ready", queue.queue, []) for queue in queues])
            dues = [due for _, due in ready if due >= 0]
            shares = fair_shares([min(one.want, jobs) for one, (jobs, _) in zip(queues, ready, strict=True)], limit)
            wants = {one.queue: share for one, share in zip(queues, shares, strict=True) if share}
        chosen = [replace(one, want=wants[one.queue]) for one in queues if one.queue in wants]
        try:
            answers = self._slots.run([self._claim_call(one, worker, request, lease) for one in chosen])
            results = [read_claim(answer, [one], request) for one, answer in zip(chosen, answers, strict=True)]
            jobs = self._with_revocations([job for one in results for job in one.jobs], space)
        except CloudqError:
            _remember(self._asked, {request: wants})
            raise
        self._asked.pop(request, None)
        dues += [one.next_due for one in results if one.next_due is not None]
        return ClaimResult(tuple(jobs), min(dues, default=None))

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Look until one of the queues may have work, at most `timeout` seconds; True if it has."""
        wakes = [self._base(queue) + keys.SUFFIXES["wake"] for queue in queues]
        looks = [Call(wake, ("ZPOPMIN", wake)) for wake in wakes]
        deadline = time.monotonic() + timeout
        while not any(self._slots.run(looks)):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(LOOK, left))
        return True

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
        """One after the other: nothing blocks on a cluster."""
        self.wait([queue.queue for queue in queues], timeout)
        return self.claim(queues, worker=worker, request=request, lease=lease, limit=limit, space=space)

    def stop_waiting(self) -> None:
        """Nothing waits there."""

    # --- ending ---

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
        """As on one server, then the claim. Where a node was away the call fails as a whole; repeated, it answers
        for what was done before as it should have then."""
        held = self._finish(finishes, retention or {}, space)
        try:
            claimed = ClaimResult((), None)
            if claim:
                claimed = self.claim(claim, worker=worker, request=request, lease=lease, limit=limit, space=space)
        except CloudqError:
            _remember(self._ended, held)
            raise
        return [held[_named(one)] for one in finishes], claimed

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
        """The whole of a `finish`, for when its answer is wanted: it takes more than one round trip."""
        return Pending(
            lambda: self.finish(
                finishes,
                retention=retention,
                claim=claim,
                worker=worker,
                request=request,
                lease=lease,
                limit=limit,
                space=space,
            )
        )

    def renew(self, leases: Sequence[Lease], *, lease: int) -> list[Renewal]:
        groups = _grouped(leases)
        answers = self._slots.run(
            [
                self._call("renew", queue, [lease, *(part for one in some for part in (1, one.id, one.token))])
                for queue, some in groups.items()
            ]
        )
        found = {
            _named(one): Renewal(answer)
            for some, row in zip(groups.values(), answers, strict=True)
            for one, answer in zip(some, row, strict=True)
        }
        return [found[_named(one)] for one in leases]

    def recover(self, queues: Sequence[str], *, max_stalled: int = 3, budget: int = BUDGET) -> int:
        """As on one server; and delivers what dead workers left in the outboxes of the queues."""
        sweeps = [self._call("recover", queue, [max_stalled, budget]) for queue in queues]
        answers = self._slots.run([*sweeps, *(self._outbox.leftovers(queue) for queue in queues)])
        for queue, found in zip(queues, answers[len(sweeps) :], strict=True):
            self._outbox.sweep(queue, found)
        return sum(int(one) for one in answers[: len(sweeps)])

    # --- inner ---

    def _call(self, name: str, queue: str, args: Iterable[Any]) -> Call:
        return script_call(self._scripts[name], [self._base(queue)], args)

    def _once(self, name: str, bases: list[str], args: list[Any]) -> Any:
        return self._slots.run([script_call(self._scripts[name], bases, args)], repeat=False)[0]

    def _repeatable(self, name: str, bases: list[str], args: list[Any]) -> Any:
        return self._slots.run([script_call(self._scripts[name], bases, args)])[0]

    def _claim_call(self, one: QueueClaim, worker: str, request: str, lease: int) -> Call:
        shared = keys.shared_base(self.prefix)
        args = claim_arguments([one], worker, request, lease, one.want, space="", shared=shared, limiter=(0, 0))
        return self._call("claim", one.queue, args)

    def _with_revocations(self, jobs: list[ClaimedJob], space: str) -> list[ClaimedJob]:
        """The revocations lie in the Huey instance's own slot; read after the claim, they are the fresher ones."""
        if not space or not jobs:
            return jobs
        store = KeyValueStore(self.connection, prefix=self.prefix, space=space)
        found = store.peek([key for job in jobs for key in (f"r:{job.id}", f"rt:{job.queue}:{job.name}")])
        return [
            replace(job, revoked=own, name_revoked=named)
            for job, own, named in zip(jobs, found[0::2], found[1::2], strict=True)
        ]

    def _finish(self, finishes: Sequence[Finish], retention: dict[str, Retention], space: str) -> dict[_Named, bool]:
        """Whether each lease was held. What was promised to other slots is delivered, or left to a later sweep."""
        held = {_named(one): self._ended.pop(_named(one)) for one in finishes if _named(one) in self._ended}
        groups = _grouped([one for one in finishes if _named(one) not in held])
        parcels: dict[_Named, tuple[str, bytes]] = {}
        calls = []
        for queue, some in groups.items():
            at_home = []
            for one in some:
                own, packed = split(one, self._space(space) or self._base(""))
                at_home.append(own)
                if packed is not None:
                    parcels[_named(one)] = queue, packed
            _, args = finish_arguments(at_home, retention, (), self._dedupe_ttl)
            calls.append(script_call(self._scripts["finish"], [self._base(queue)] * 2, [*args, 0]))
        answers = self._slots.attempt(calls)
        for some, answer in zip(groups.values(), answers, strict=True):
            if not isinstance(answer, Exception):
                held |= {_named(one): bool(flag) for one, flag in zip(some, answer[0], strict=True)}
        with contextlib.suppress(CloudqError):  # a sweep delivers it
            self._outbox.deliver([parcel for name, parcel in parcels.items() if held.get(name)])
        try:
            self._slots.raise_first(answers)
        except CloudqError:
            _remember(self._ended, held)
            raise
        return held


def fair_shares(ready: Sequence[int], limit: int) -> list[int]:
    """A fair share for every queue with work, then what is left in the given order: as include/claim.lua."""
    shares = [0] * len(ready)
    share = max(1, limit // max(1, sum(1 for jobs in ready if jobs > 0)))
    for most in (share, limit):
        for at, jobs in enumerate(ready):
            shares[at] += max(0, min(jobs - shares[at], most - shares[at], limit - sum(shares)))
    return shares


def _named(one: Finish | Lease) -> _Named:
    return one.queue, one.id, one.token


def _grouped(some: Sequence[_OfQueue]) -> dict[str, list[_OfQueue]]:
    groups: dict[str, list[_OfQueue]] = {}
    for one in some:
        groups.setdefault(one.queue, []).append(one)
    return groups


def _remember(memory: dict[Any, Any], more: dict[Any, Any]) -> None:
    """For the call to be repeated; the oldest are forgotten, should their callers have given up."""
    memory |= more
    while len(memory) > _REMEMBERED:
        memory.pop(next(iter(memory)))

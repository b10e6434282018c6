"""The one counter at which the threads of a process hand in finishes and take jobs.

A call to the engine is nearly all a short job costs, so the threads share them: whoever finds no job to take
carries every finish handed in so far, and claims for all that wait, in one call. Meanwhile the others work, or
gather for the next call. Two promises bound this: a finish is never held back longer than 5 ms, and a job claimed
ahead is given back when no thread took it within 15 ms. How much is claimed ahead follows how long jobs take.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from cloudq_tui.engine.records import ClaimedJob, ClaimResult, Finish, Lease, Outcome, QueueClaim
from cloudq_tui.errors import CloudqError, QueueUnavailable
from cloudq_tui.worker.appetite import Appetite
from cloudq_tui.worker.leases import HeldLease

if TYPE_CHECKING:
    from cloudq_tui.worker.crowd import Crowd
    from cloudq_tui.worker.huey import CloudqHuey

logger = logging.getLogger("cloudq.worker")

HOLD = 0.004  # seconds a finish waits for company at most
STALE = 0.015  # seconds a job claimed ahead may wait for a thread
IDLE = 1.0  # seconds of one blocking wait at most
_SUSPECT = 3  # calls in a row that fail before each finish is tried alone


class Taken:
    """A job in a thread's hands."""

    __slots__ = ("claim", "held", "since")

    def __init__(self, claim: ClaimedJob, held: HeldLease) -> None:
        self.claim = claim
        self.held = held
        self.since = time.monotonic()


class _Handed:
    """A finish on its way, and what is to be done once it was accepted."""

    __slots__ = ("after", "finish", "refused", "tries")

    def __init__(self, finish: Finish, after: Callable[[], None] | None = None, *, refused: bool = False) -> None:
        self.finish = finish
        self.after = after
        self.refused = refused  # stands for a finish that could not be stored
        self.tries = 0


class Exchange:
    """Shared by the threads of one process; `workers` is how many take jobs here, `pool` how many in all.

    `crowd` knows what the other worker processes of the same consumer run.
    """

    def __init__(self, huey: CloudqHuey, workers: int, *, crowd: Crowd | None = None, pool: int = 0) -> None:
        self._huey = huey
        self._appetite = Appetite(huey, workers, crowd=crowd, pool=pool)
        self._turn = threading.Condition()
        self._ready: deque[Taken] = deque()
        self._done: list[_Handed] = []
        self._running: dict[tuple[str, str], Taken] = {}
        self._present = 0
        self._idle = 0
        self._calling = False
        self._listening = False
        self._fresh = True  # a claim may find something: none was made since the last wake
        self._next_due: int | None = None
        self._repeat: tuple[str, list[QueueClaim], int] | None = None
        self._failures = 0
        self._closed = False
        self._overdue = threading.Event()
        self._backstop: threading.Thread | None = None

    # --- coming and going ---

    def enter(self) -> None:
        """A worker thread begins."""
        with self._turn:
            self._present += 1
            if self._backstop is None:
                self._backstop = threading.Thread(target=self._watch, name="cloudq-flush", daemon=True)
                self._backstop.start()

    def leave(self) -> None:
        """A worker thread ends; the last one hands in everything and gives back what was not started."""
        with self._turn:
            self._present -= 1
            last = self._present <= 0
        if last:
            self._give_back()
            self.flush(patience=2.0)

    def close(self) -> None:
        """Stop now: hand in what is done, give back what was not started, then what still runs."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._give_back()
        self.flush(patience=2.0)
        with self._turn:
            for taken in self._running.values():
                self._done.append(_Handed(_release(taken.claim)))
            self._running.clear()
        self.flush(patience=2.0)

    # --- what a worker thread does ---

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """The next job; None when it is time to stop, or Redis is away."""
        with self._turn:
            self._idle += 1
        try:
            while True:
                with self._turn:
                    if self._closed or stopping():
                        return None
                    taken = self._pop()
                    if taken is not None:
                        return taken
                    listen = False
                    if self._calling:
                        self._turn.wait(IDLE)
                        continue
                    if self._done or self._fresh:
                        self._calling = True
                    elif not self._listening:
                        self._listening = listen = True
                    else:
                        self._turn.wait(IDLE)
                        continue
                if not (self._listen() if listen else self._call(claim=True)):
                    return None
        finally:
            with self._turn:
                self._idle -= 1

    def done(self, finish: Finish, seconds: float, after: Callable[[], None] | None = None) -> None:
        """Hand in how a job ended after `seconds`; it leaves with the next call."""
        with self._turn:
            if self._running.pop((finish.id, finish.token), None) is None:
                return  # it was given back when the worker was told to stop
            self._appetite.ended(finish.queue, seconds)
            self._done.append(_Handed(finish, after))
        self._overdue.set()

    def abandon(self, taken: Taken) -> None:
        """The job could not even be run here: others may try it."""
        self.done(_release(taken.claim), 1.0)

    def flush(self, patience: float = 0.0) -> None:
        """Hand in now; while Redis is away, for `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            with self._turn:
                if not self._done:
                    return
                if self._calling:
                    self._turn.wait(0.05)
                    mine = False
                else:
                    self._calling = mine = True
            if mine:
                self._call(claim=False)
            if time.monotonic() > deadline and not mine:
                return
            if mine and self._failures and time.monotonic() > deadline:
                return

    # --- choosing ---

    def _pop(self) -> Taken | None:
        for _ in range(len(self._ready)):
            taken = self._ready.popleft()
            if self._appetite.start(taken.claim.queue):
                self._running[taken.claim.id, taken.claim.token] = taken
                return taken
            self._ready.append(taken)
        return None

    def _ask(self) -> tuple[str, list[QueueClaim], int]:
        """A call whose answer was lost is asked again as it was: Redis then gives the same jobs."""
        if self._repeat is not None:
            return self._repeat
        ready = Counter(taken.claim.queue for taken in self._ready)
        claims, limit = self._appetite.claims(max(0, self._idle - len(self._ready)), ready)
        return self._huey.leases.request(), claims, limit

    # --- calling ---

    def _call(self, *, claim: bool) -> bool:
        """One call to the engine; the caller has set `_calling`. False while Redis is away."""
        with self._turn:
            handed, self._done = self._done, []
            self._overdue.clear()
            request, claims, limit = self._ask() if claim else ("", [], 0)
            if claims:
                self._repeat = (request, claims, limit)
        result: ClaimResult | None = None
        try:
            result = self._speak(handed, request, claims, limit)
        except QueueUnavailable as error:
            # A script that fails on one finish looks like an outage, too: after some tries each goes alone.
            if handed and self._failures >= _SUSPECT:
                self._one_by_one(handed)
            else:
                self._took_none(handed, error)
        except Exception:
            logger.exception("%d finishes could not be handed in together; each goes alone", len(handed))
            self._one_by_one(handed)
        finally:
            with self._turn:
                if result is not None:
                    self._received(result, claims, limit, claim=claim)
                self._calling = False
                self._turn.notify_all()
        if result is None:
            self._pause()
        return result is not None

    def _speak(self, handed: list[_Handed], request: str, claims: list[QueueClaim], limit: int) -> ClaimResult:
        huey, worker = self._huey, self._huey.leases.worker
        lease = huey.leases.options.lease_ms
        if not handed:
            if not claims:
                return ClaimResult((), None)
            return huey.engine.claim(claims, worker=worker, request=request, lease=lease, limit=limit, space=huey.name)
        finishes = [one.finish for one in handed]
        accepted, result = huey.engine.finish(
            finishes,
            retention=huey.retention(finishes),
            claim=claims,
            worker=worker,
            request=request,
            lease=lease,
            limit=limit,
            space=huey.name,
        )
        for one, held in zip(handed, accepted, strict=True):
            self._settled(one, held)
        return result

    def _settled(self, one: _Handed, held: bool) -> None:
        finish = one.finish
        self._huey.leases.drop(Lease(finish.queue, finish.id, finish.token))
        if not held and one.tries == 0 and finish.outcome is not Outcome.RELEASE:
            logger.warning("job %s in %s had lost its lease; its end was not counted", finish.id, finish.queue)
        if held and one.after is not None:
            try:
                one.after()
            except CloudqError as error:
                logger.warning("job %s ended, but not all was tidied up: %s", finish.id, error)

    def _received(self, result: ClaimResult, claims: list[QueueClaim], limit: int, *, claim: bool) -> None:
        if self._failures:
            logger.warning("Redis answers again")
        self._failures = 0
        if not claims:
            if claim:
                self._fresh = False  # no queue has room; a finish or the next wake changes that
            return
        self._repeat = None
        self._ready.extend(
            Taken(job, self._huey.leases.hold(Lease(job.queue, job.id, job.token))) for job in result.jobs
        )
        self._fresh = len(result.jobs) >= limit > 0
        self._next_due = result.next_due
        if self._ready:
            self._overdue.set()

    def _took_none(self, handed: list[_Handed], error: QueueUnavailable) -> None:
        with self._turn:
            for one in handed:
                one.tries += 1
            self._done = handed + self._done
            self._failures += 1
            first = self._failures == 1
        if first:
            logger.warning("%s; trying again, nothing is lost", error)

    def _one_by_one(self, handed: list[_Handed]) -> None:
        """A finish that no call can carry must not hold up the others: it ends as failed, then it is given up."""
        left: list[tuple[_Handed, Exception]] = []
        for one in handed:
            try:
                self._speak([one], "", [], 0)
            except Exception as error:  # noqa: BLE001 - whatever the engine refuses about it
                left.append((one, error))
        if left and not self._answers():
            self._took_none([one for one, _ in left], QueueUnavailable(str(left[0][1])))
            return
        for one, reason in left:
            finish = one.finish
            logger.error("the end of job %s in %s cannot be stored: %s", finish.id, finish.queue, reason)
            if one.refused:  # its lease runs out, and it is recovered
                self._huey.leases.drop(Lease(finish.queue, finish.id, finish.token))
                continue
            failed = Finish(finish.queue, finish.id, finish.token, Outcome.FAILED, error=str(reason))
            with self._turn:
                self._done.append(_Handed(failed, None, refused=True))
        with self._turn:
            self._failures = 0

    def _answers(self) -> bool:
        try:
            self._huey.engine.now()
        except QueueUnavailable:
            return False
        return True

    def _pause(self) -> None:
        """While Redis is away, between two tries of a thread."""
        if self._failures and not self._closed:
            time.sleep(min(2.0, 0.05 * 2 ** min(self._failures, 6)))

    def _listen(self) -> bool:
        """Block until a queue with room may have work; at most a second, or until the next job is due."""
        with self._turn:
            queues = [queue for queue in self._appetite.rotated() if self._appetite.has_room(queue)]
            due = self._next_due
        timeout = IDLE if due is None else min(IDLE, max(0.001, due / 1000))
        try:
            if queues:
                self._huey.engine.wait(queues, timeout)
            else:
                with self._turn:
                    self._turn.wait(timeout)
        except QueueUnavailable as error:
            self._took_none([], error)
            self._pause()
            return False
        finally:
            with self._turn:
                self._listening = False
                self._fresh = True
                self._turn.notify_all()
        return True

    # --- the backstop ---

    def _watch(self) -> None:
        """Keeps the two promises when no thread comes by: all of them are busy."""
        while not self._closed:
            self._overdue.wait()
            self._overdue.clear()
            time.sleep(HOLD)
            try:
                self._give_back(older_than=STALE)
                self.flush()
                with self._turn:
                    if self._ready or self._done:
                        self._overdue.set()
            except Exception:
                logger.exception("the flushing thread met an error and goes on")

    def _give_back(self, older_than: float = 0.0) -> None:
        """Release jobs claimed ahead that nobody started."""
        limit = time.monotonic() - older_than
        with self._turn:
            while self._ready and self._ready[0].since <= limit:
                taken = self._ready.popleft()
                self._appetite.overestimated(taken.claim.queue)
                self._done.append(_Handed(_release(taken.claim)))


def _release(claim: ClaimedJob) -> Finish:
    return Finish(claim.queue, claim.id, claim.token, Outcome.RELEASE, counted=False)

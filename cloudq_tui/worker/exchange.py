"""The one counter at which the threads of a process hand in finishes and take jobs.

A call to the engine is nearly all a short job costs, so the threads share them: whoever finds no job to take
carries every finish handed in so far, and claims for all that wait, while the others work. Two promises bound this:
a finish is never held back longer than 5 ms, and a job claimed ahead is given back when none took it in 15 ms.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from cloudq_tui.engine.records import ClaimResult, Finish, Lease, Outcome, QueueClaim
from cloudq_tui.errors import QueueUnavailable, ScriptRefused
from cloudq_tui.worker import joblog
from cloudq_tui.worker.appetite import Appetite
from cloudq_tui.worker.backstop import Backstop
from cloudq_tui.worker.parcel import Handed, Parcel, Taken, release

if TYPE_CHECKING:
    from cloudq_tui.worker.crowd import Crowd
    from cloudq_tui.worker.huey import CloudqHuey

logger = logging.getLogger("cloudq.worker")

HOLD = 0.004  # seconds a finish waits for company at most
READ = 0.008  # seconds an answer may lie unread
STALE = 0.015  # seconds a job claimed ahead may wait for a thread
IDLE = 1.0  # seconds of one blocking wait at most
_MANY = 8  # jobs claimed ahead that make it worth while to call while they run
_LOAD = 32  # finishes that make a call worth while
_LOOK = 16  # finishes between two looks for an answer: each is a system call, and lets another thread in


class Exchange:
    """Shared by a process's threads: `workers` take jobs here, `pool` in all processes of the consumer, whose jobs
    `crowd` knows."""

    def __init__(self, huey: CloudqHuey, workers: int, *, crowd: Crowd | None = None, pool: int = 0) -> None:
        self._huey = huey
        self._appetite = Appetite(huey, workers, crowd=crowd, pool=pool)
        self._lock = threading.RLock()  # of `_turn`; by itself it is had in a fifth of the time
        self._turn = threading.Condition(self._lock)
        self._ready: deque[Taken] = deque()
        self._done: list[Handed] = []
        self._running: dict[tuple[str, str], Taken] = {}
        self._present = 0
        self._idle = 0
        self._calling = False
        self._sent: Parcel | None = None  # its answer was not read yet
        self._hand = 0  # jobs that lay ready after the last claim
        self._listening = False
        self._heard = 0  # threads for which the one who listens has asked
        self._fresh = True  # a claim may find something: none was made since the last wake
        self._next_due: int | None = None
        self._since = 0.0  # when the first of `_done` was handed in
        self._repeat: tuple[str, list[QueueClaim], int] | None = None
        self._failures = 0
        self._closed = False
        self._backstop = Backstop(self._next_promise, self._keep_promises)

    # --- coming and going ---

    def enter(self) -> None:
        """A worker thread begins."""
        with self._turn:
            self._present += 1
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
        self._huey.engine.stop_waiting()
        self._give_back()
        self.flush(patience=2.0)
        with self._turn:
            for taken in self._running.values():
                self._lay_down(Handed(release(taken.claim)))
            self._running.clear()
        self.flush(patience=2.0)

    # --- what a worker thread does ---

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """The next job; None when it is time to stop, or Redis is away."""
        with self._lock:
            if self._ready and not (self._closed or stopping() or self._may_call_ahead()):
                taken = self._pop()
                if taken is not None:
                    return taken
        return self._take_in_turn(stopping)

    def _take_in_turn(self, stopping: Callable[[], bool]) -> Taken | None:
        """Whoever finds nothing to take calls, listens, or waits for the one who does."""
        with self._lock:
            self._idle += 1
        try:
            while True:
                with self._lock:
                    if self._closed or stopping():
                        return None
                    ahead = self._may_call_ahead()
                    listen = False
                    taken = None if ahead and self._sent else self._pop()
                    if taken is not None:
                        if not ahead:
                            return taken
                        self._calling = True
                        break
                    if self._calling:
                        self._turn.wait(IDLE)
                        continue
                    if self._sent or self._done or self._fresh:
                        self._calling = True
                    elif not self._listening:
                        self._listening = listen = True
                    else:
                        self._turn.wait(IDLE)
                        continue
                if not (self._listen() if listen else self._call(claim=True)):
                    return None
        finally:
            with self._lock:
                self._idle -= 1
        self._send_ahead()
        return taken

    def done(self, finish: Finish, seconds: float, after: Callable[[], None] | None = None) -> None:
        """Hand in how a job ended after `seconds`; it leaves with the next call."""
        with self._lock:
            if self._running.pop((finish.id, finish.token), None) is None:
                return  # it was given back when the worker was told to stop
            self._appetite.ended(finish.queue, seconds)
            self._lay_down(Handed(finish, after))
        self._backstop.wake()

    def _lay_down(self, handed: Handed) -> None:
        """To be carried by the next call. The caller has the lock."""
        if not self._done:
            self._since = time.monotonic()
        self._done.append(handed)

    def said(self) -> None:
        """A line was logged: written now, or with the next call while quick jobs lie ready."""
        if not self._ready:
            joblog.flush()

    def abandon(self, taken: Taken) -> None:
        """The job could not even be run here: others may try it."""
        self.done(release(taken.claim), 1.0)

    def flush(self, patience: float = 0.0) -> None:
        """Hand in now; while Redis is away, for `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            if self._closed or self._present <= 0:
                self._give_back()
            with self._turn:
                # What another thread carries has not arrived yet, and would be lost with this process.
                if not self._done and self._sent is None and not self._calling:
                    return
                mine, self._calling = not self._calling, True
                if not mine:
                    self._turn.wait(0.05)
            if mine:
                self._call(claim=self._hand >= _MANY and not self._closed and self._present > 0)
            if time.monotonic() > deadline and (self._failures or not mine):
                return

    # --- choosing ---

    def _pop(self) -> Taken | None:
        """The first that may run; those passed over keep their place, the longest wait first."""
        while self._ready and time.monotonic() - self._ready[0].since > self._huey.leases.options.lease / 2:
            # This process was frozen meanwhile: the job may be another's by now.
            self._lay_down(Handed(release(self._ready.popleft().claim)))
        full: set[str] = set()
        for at, taken in enumerate(self._ready):
            if (queue := taken.claim.queue) not in full and self._appetite.start(queue):
                del self._ready[at]
                self._running[taken.claim.id, taken.claim.token] = taken
                return taken
            full.add(queue)
        if self._ready:
            self._backstop.wake()
        return None

    def _ask(self) -> tuple[str, list[QueueClaim], int]:
        """A call whose answer was lost is asked again as it was: Redis then gives the same jobs."""
        if self._repeat is not None:
            return self._repeat
        return self._huey.leases.request(), *self._wanted()

    def _wanted(self) -> tuple[list[QueueClaim], int]:
        ready = Counter(taken.claim.queue for taken in self._ready)
        return self._appetite.claims(max(0, self._idle - len(self._ready) - self._heard), ready)

    # --- calling ---

    def _may_call_ahead(self) -> bool:
        """Whether to hand in and claim now, while there is still work here for as long as that takes."""
        if not (self._fresh and self._hand >= _MANY and self._ready) or self._calling:
            return False
        if 2 * len(self._done) < min(self._hand, 2 * _LOAD):
            return False
        return self._sent is None or (len(self._done) % _LOOK == 0 and self._sent.arrived())

    def _send_ahead(self, *, claim: bool = True) -> None:
        """The caller has set `_calling`. Faults are met by whoever reads the answer."""
        parcel = self._parcel(claim=claim)
        try:
            parcel.send(self._huey)
        finally:
            with self._turn:
                self._sent = parcel
                self._calling = False
                self._turn.notify_all()

    def _parcel(self, *, claim: bool) -> Parcel:
        with self._turn:
            handed, self._done = self._done, []
            if not claim:
                return Parcel(handed)
            parcel = Parcel(handed, *self._ask())
            if parcel.claims:
                self._repeat = (parcel.request, parcel.claims, parcel.limit)
            return parcel

    def _call(self, *, claim: bool) -> bool:
        """One call to the engine, or the rest of one that was sent ahead; the caller has set `_calling`. False
        while Redis is away."""
        with self._turn:
            sent, self._sent = self._sent, None
        parcel = sent or self._parcel(claim=claim)
        handed, result = parcel.handed, None
        try:
            if sent is None and handed:
                parcel.send(self._huey)
            joblog.flush()  # while Redis works
            result = parcel.deliver(self._huey)
        except QueueUnavailable as error:
            if handed and isinstance(error, ScriptRefused):
                self._one_by_one(handed)  # one of them may be at fault, and the others are not to wait for it
            else:
                self._took_none(handed, error)
        except Exception:
            logger.exception("%d finishes could not be handed in together; each goes alone", len(handed))
            self._one_by_one(handed)
        finally:
            with self._turn:
                if result is not None:
                    self._received(result, parcel)
                self._calling = False
                self._turn.notify_all()
        if result is None:
            self._pause()
        return result is not None

    def _received(self, result: ClaimResult, parcel: Parcel) -> None:
        if self._failures:
            logger.warning("Redis answers again")
        self._failures = 0
        if not parcel.claims:
            if parcel.wanted and self._idle:
                self._fresh = False  # no queue has room; a finish or the next wake changes that
            return
        if self._repeat is not None and self._repeat[0] == parcel.request:
            self._repeat = None
        held = self._huey.leases.hold_all(result.jobs)
        self._ready.extend(Taken(job, lease, parcel.since) for job, lease in zip(result.jobs, held, strict=True))
        self._hand = len(self._ready)
        self._fresh = len(result.jobs) >= parcel.limit > 0
        self._next_due = result.next_due
        if len(self._ready) > self._idle:  # otherwise each has a thread that waits for it
            self._backstop.wake()

    def _took_none(self, handed: list[Handed], error: QueueUnavailable) -> None:
        with self._turn:
            for one in handed:
                one.tries += 1
            self._done = handed + self._done
            self._since = time.monotonic()
            self._failures += 1
            first = self._failures == 1
        if first:
            logger.warning("%s; trying again, nothing is lost", error)

    def _one_by_one(self, handed: list[Handed]) -> None:
        """A finish that no call can carry must not hold up the others: it ends as failed, then it is given up."""
        refused: list[tuple[Handed, Exception]] = []
        for at, one in enumerate(handed):
            try:
                Parcel([one]).deliver(self._huey)
            except ScriptRefused as error:
                refused.append((one, error))
            except QueueUnavailable as error:  # an outage says nothing about a finish: all that are left wait
                self._took_none([*(refusal[0] for refusal in refused), *handed[at:]], error)
                return
            except Exception as error:  # noqa: BLE001 - whatever the engine refuses about it
                refused.append((one, error))
        for one, reason in refused:
            finish = one.finish
            logger.error("the end of job %s in %s cannot be stored: %s", finish.id, finish.queue, reason)
            if one.refused:  # its lease runs out, and it is recovered
                self._huey.leases.drop(Lease(finish.queue, finish.id, finish.token))
                continue
            failed = Finish(finish.queue, finish.id, finish.token, Outcome.FAILED, error=str(reason))
            with self._turn:
                self._lay_down(Handed(failed, None, refused=True))
        with self._turn:
            self._failures = 0

    def _pause(self) -> None:
        """While Redis is away, between two tries of a thread."""
        if self._failures and not self._closed:
            time.sleep(min(2.0, 0.05 * 2 ** min(self._failures, 6)))

    def _listen(self) -> bool:
        """Block until a queue with room has work, and claim it; at most a second, or until the next job is due."""
        with self._turn:
            claims, limit = self._wanted()
            self._heard = min(limit, self._idle)
            due = self._next_due
        timeout = IDLE if due is None else min(IDLE, max(0.001, due / 1000))
        parcel = Parcel([], self._huey.leases.request("l"), claims, limit)
        result = None
        try:
            if claims:
                result = parcel.await_work(self._huey, timeout)
                parcel.since = time.monotonic()  # it was claimed just now, not when the wait began
            else:
                with self._turn:
                    self._turn.wait(timeout)
        except QueueUnavailable as error:
            if self._closed:
                return False
            self._took_none([], error)
            with self._turn:
                # Asked again as it was, unless another claim's answer was lost too: that one's leases run out.
                self._repeat = self._repeat or (parcel.request, claims, limit)
            self._pause()
            return False
        finally:
            with self._turn:
                self._listening, self._heard = False, 0
                if result is not None:
                    self._received(result, parcel)
                else:
                    self._fresh = True
                self._turn.notify_all()
        return True

    # --- the promises, when no thread comes by ---

    def _next_promise(self) -> float | None:
        """When something here will have waited for too long."""
        with self._lock:
            dues = [self._since + HOLD] if self._done else []
            if self._sent is not None:
                dues.append(self._sent.since + READ)
            if self._ready:
                dues.append(self._ready[0].since + STALE)
            return min(dues, default=None)

    def _keep_promises(self) -> None:
        self._give_back(older_than=STALE)
        with self._lock:
            send = bool(self._done) and self._present > 0 and not (self._calling or self._closed or self._sent)
            self._calling = self._calling or send
        if send:
            # Its answer is for a worker's thread to read: this one would have to wait until they let it.
            self._send_ahead(claim=self._hand >= _MANY)
        else:
            self.flush()
        joblog.flush()  # last: it may block, and lets other threads in

    def _give_back(self, older_than: float = 0.0) -> None:
        """Release jobs claimed ahead that nobody started."""
        limit = time.monotonic() - older_than
        with self._turn:
            while self._ready and self._ready[0].since <= limit:
                taken = self._ready.popleft()
                self._appetite.overestimated(taken.claim.queue)
                self._lay_down(Handed(release(taken.claim)))

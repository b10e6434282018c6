"""Keeps what this process holds: one thread renews its leases, shows its presence, and sweeps for the dead.

The thread starts at the first claim after a fork, so that a forked worker keeps its own leases, not its parent's.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from cloudq_tui.engine.acts import BUDGET
from cloudq_tui.engine.records import CatalogEntry, ClaimedJob, Finish, Lease, Presence, Renewal
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import CloudqError, QueueUnavailable
from cloudq_tui.worker.options import LeaseOptions

logger = logging.getLogger("cloudq.worker")


class _ShowsProgress(Protocol):
    def flush_progress(self) -> None: ...


class HeldLease:
    """One lease in this process's hands, and what is known of it."""

    __slots__ = ("job", "lease", "started", "state")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.state = Renewal.HELD
        self.job: _ShowsProgress | None = None
        self.started = False

    def learn(self, news: Renewal) -> None:
        """What the engine said last. A lost lease never comes back; a cancelled one may still be lost."""
        if self.state is not Renewal.LOST and not (self.state is Renewal.CANCELLED and news is Renewal.HELD):
            self.state = news


class LeaseKeeper:
    """The leases of one process, safe across forks: a child begins with none and under a name of its own."""

    def __init__(
        self,
        engine: QueueEngine,
        options: LeaseOptions,
        queues: Callable[[], tuple[str, ...]],
        catalog: Callable[[], list[CatalogEntry]],
    ) -> None:
        self.options = options
        self._catalog = catalog
        self.threads = 0
        self._engine = engine
        self._queues = queues
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._host = socket.gethostname()
        self._nonce = secrets.token_hex(4)
        self._held: dict[tuple[str, str, str], HeldLease] = {}
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._requests = 0
        self._started = round(time.time() * 1000)

    def _own(self) -> None:
        """After a fork the thread is gone and the leases are the parent's."""
        if self._pid != os.getpid():
            self._begin()

    @property
    def worker(self) -> str:
        """This process's name: host, pid, and a nonce, since a pid comes back."""
        self._own()
        return f"{self._host}:{self._pid}:{self._nonce}"

    def request(self, who: str = "") -> str:
        """A fresh request id for a claim; it becomes the token of what is claimed.

        Redis remembers the last claim of each `who`: what may be asked at the same moment asks under its own name.
        """
        self._own()
        with self._guard:
            self._requests += 1
            return f"{self._nonce}{who}.{self._requests:x}"

    def start(self) -> None:
        """Start the thread if it does not run in this process yet."""
        self._own()
        with self._guard:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="cloudq-leases", daemon=True)
                self._thread.start()

    def hold(self, lease: Lease) -> HeldLease:
        self.start()
        held = HeldLease(lease)
        with self._guard:
            self._held[lease.queue, lease.id, lease.token] = held
        return held

    def hold_all(self, jobs: Sequence[ClaimedJob]) -> list[HeldLease]:
        """The leases of one claim, in its order."""
        if jobs:
            self.start()
        held = [HeldLease(Lease(job.queue, job.id, job.token)) for job in jobs]
        with self._guard:
            for job, one in zip(jobs, held, strict=True):
                self._held[job.queue, job.id, job.token] = one
        return held

    def drop(self, lease: Lease) -> None:
        with self._guard:
            self._held.pop((lease.queue, lease.id, lease.token), None)

    def drop_all(self, finishes: Sequence[Finish]) -> None:
        """The leases of runs that have ended."""
        with self._guard:
            for finish in finishes:
                self._held.pop((finish.queue, finish.id, finish.token), None)

    def stop(self) -> None:
        """Renew no more, and leave. A later claim in this process would start afresh."""
        self._own()
        thread = self._thread
        if thread is None:
            return
        self._stop.set()
        thread.join(timeout=2)
        try:
            self._engine.leave(self.worker)
        except QueueUnavailable:
            logger.debug("Redis is away; this worker's presence ends by itself")
        with self._guard:
            self._thread = None
            self._stop = threading.Event()

    # --- the thread ---

    def _sweep(self) -> None:
        """All that is late, in bounded steps: many may have died with a host."""
        while self._engine.recover(self._queues(), max_stalled=self.options.max_stalled) >= BUDGET:
            self._renew()

    def _run(self) -> None:
        stop, options = self._stop, self.options
        published = False
        next_renew = next_sweep = time.monotonic()
        away = False
        while not stop.wait(max(0.0, min(next_renew, next_sweep) - time.monotonic())):
            now = time.monotonic()
            try:
                if now >= next_renew:
                    next_renew = now + (1.0 if away else options.renew)
                    self._renew()
                if now >= next_sweep:
                    next_sweep = now + options.sweep
                    self._sweep()
                if not published:
                    self._engine.publish(self._catalog())
                    published = True
                if away:
                    logger.warning("Redis answers again; leases are renewed")
                away = False
            except QueueUnavailable as error:
                # Renewed every second until it answers: the leases may still be saved.
                next_renew, next_sweep = now + 1.0, now + options.sweep
                if not away:
                    logger.warning("leases cannot be renewed: %s", error)
                away = True
            except Exception:
                logger.exception("the lease thread met an error and goes on")

    def _renew(self) -> None:
        with self._guard:
            held = list(self._held.values())
        answers = self._engine.renew([one.lease for one in held], lease=self.options.lease_ms)
        for one, answer in zip(held, answers, strict=True):
            one.learn(answer)
            if one.job is not None and answer is not Renewal.LOST:
                try:
                    one.job.flush_progress()
                except CloudqError:
                    logger.debug("progress of job %s could not be written", one.lease.id)
        if not self._stop.is_set():  # who has left is not to be seen again
            self._engine.beat(self.presence(len(held)), ttl=round(self.options.renew * 3000))

    def presence(self, running: int) -> Presence:
        return Presence(
            worker=self.worker,
            host=self._host,
            pid=self._pid,
            queues=self._queues(),
            threads=self.threads,
            running=running,
            started=self._started,
            version=_version(),
            clock=round(time.time() * 1000),
        )


def _version() -> str:
    try:
        return version("cloudq-tui")
    except PackageNotFoundError:
        return ""

"""The `job` a processor receives: what JobContext promises, over the engine and the worker's leases."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from huey.exceptions import TaskTimeout

from cloudq_tui.engine import codec
from cloudq_tui.engine.records import ClaimedJob, Renewal
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import Cancelled, Deferred, LeaseLost, QueueUnavailable, TemporaryFailure
from cloudq_tui.worker.leases import HeldLease

logger = logging.getLogger("cloudq.worker")

_LOG_LINE = 8000  # characters kept of a line of the job's own log
_PROGRESS_INTERVAL = 0.1  # seconds between two writes of the same step's progress


class JobTimeout(TemporaryFailure, TaskTimeout):  # type: ignore[misc]
    """The job's timeout has passed. Huey's TaskTimeout too, so that its signals and hooks see one."""


class RunningJob:
    """The context of one run. Safe to use from threads a processor starts."""

    def __init__(self, engine: QueueEngine, claim: ClaimedJob, held: HeldLease) -> None:
        self._engine = engine
        self._claim = claim
        self._held = held
        self._checkpoint = claim.checkpoint
        self._deadline = math.inf
        self._lock = threading.Lock()
        self._shown: tuple[int, str] = (-1, "")
        self._pending: tuple[int, str] | None = None
        self._written = -math.inf

    @property
    def id(self) -> str:
        return self._claim.id

    @property
    def queue(self) -> str:
        return self._claim.queue

    @property
    def name(self) -> str:
        return self._claim.name

    @property
    def attempt(self) -> int:
        return self._claim.failures + 1

    @property
    def retries_left(self) -> int:
        return max(0, self._claim.retries - self._claim.failures)

    @property
    def last_checkpoint(self) -> Any:
        return None if self._checkpoint is None else codec.decode(self._checkpoint)

    @property
    def time_remaining(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def start_clock(self, timeout: float | None) -> None:
        """The run begins now; `timeout` in seconds."""
        if timeout:
            self._deadline = time.monotonic() + timeout

    def update_progress(self, percent: float, step: str = "") -> None:
        """Within a step at most ten writes a second; what is held back leaves with the next renewal."""
        self.check()
        value = max(0, min(100, round(percent)))
        with self._lock:
            name = step or self._shown[1]
            self._pending = (value, name)
            soon = time.monotonic() - self._written < _PROGRESS_INTERVAL
            if (value, name) == self._shown or (soon and name == self._shown[1] and value < 100):
                return
        self.flush_progress()
        self.check()

    def flush_progress(self) -> None:
        """Write progress that was held back, if any."""
        with self._lock:
            pending, self._pending = self._pending, None
            if pending is None or pending == self._shown:
                return
            self._shown, self._written = pending, time.monotonic()
        try:
            self._held.learn(self._engine.progress(self._held.lease, *pending))
        except QueueUnavailable:
            # What is only shown must not fail the job: it leaves with a later write.
            with self._lock:
                self._pending, self._shown = self._pending or pending, (-1, pending[1])

    def log(self, text: str) -> None:
        try:
            alive = self._engine.log(self._held.lease, text[:_LOG_LINE])
        except QueueUnavailable as error:
            logger.warning("a log line of job %s is lost: %s", self.id, error)
        else:
            self._fence(alive)

    def checkpoint(self, data: Any) -> None:
        encoded = codec.encode(data)
        self._fence(self._engine.checkpoint(self._held.lease, encoded))
        self._checkpoint = encoded

    def scrub(self, data: Any) -> None:
        self._fence(self._engine.scrub(self._held.lease, codec.pack_call((data,), {})))

    def check(self) -> None:
        if self._held.state is Renewal.CANCELLED:
            raise Cancelled(f"job {self.id} was cancelled")
        self._fence(self._held.state is not Renewal.LOST)
        if time.monotonic() >= self._deadline:
            raise JobTimeout("timeout: the job ran longer than it may")

    def defer(self, delay: float, reason: str) -> NoReturn:
        raise Deferred(delay, reason)

    def limit(self, key: str, count: int, per: float) -> float:
        wait = self._engine.limit(self._held.lease, key, count, round(per * 1000))
        self._fence(wait >= 0)
        return wait / 1000

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        owned = self._engine.lock(self._held.lease, key)
        self._fence(owned is not None)
        try:
            yield bool(owned)
        finally:
            if owned:
                self._engine.unlock(self._held.lease, key)

    def _fence(self, alive: bool) -> None:
        if not alive:
            self._held.learn(Renewal.LOST)
            raise LeaseLost(f"job {self.id} in {self.queue} belongs to another worker now")


class DetachedJob:
    """The context of a call that no worker claimed: immediate mode and `call_local`. It keeps what it is told."""

    attempt = 1
    retries_left = 0
    time_remaining = math.inf

    def __init__(self, job_id: str, queue: str, name: str) -> None:
        self.id = job_id
        self.queue = queue
        self.name = name
        self.last_checkpoint: Any = None
        self.progress: tuple[float, str] = (0.0, "")
        self.lines: list[str] = []

    def update_progress(self, percent: float, step: str = "") -> None:
        self.progress = (percent, step)

    def log(self, text: str) -> None:
        self.lines.append(text)

    def checkpoint(self, data: Any) -> None:
        self.last_checkpoint = codec.decode(codec.encode(data))

    def scrub(self, data: Any) -> None:
        """Nothing is stored of it."""

    def check(self) -> None:
        """Nobody can cancel it."""

    def defer(self, delay: float, reason: str) -> NoReturn:
        raise Deferred(delay, reason)

    def limit(self, key: str, count: int, per: float) -> float:  # noqa: ARG002 - nobody to share it with
        return 0.0

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:  # noqa: ARG002 - nobody to share it with
        yield True

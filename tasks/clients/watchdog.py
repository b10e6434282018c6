"""Ends a blocking call from outside: when it takes too long, and when its job was cancelled meanwhile.

A thread in a client library cannot look at the clock; this one can, and pulls the connection away from under it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from cloudq_tui.errors import CloudqError, TemporaryFailure
from cloudq_tui.models.context import JobContext

_TICK = 0.2  # seconds between two looks
_PATIENCE = 1.5  # seconds a call gets to end by itself before it is aborted harder


class Watchdog:
    """Watches the calls of one connection. `ask` requests the end of a call politely, `cut` forces it."""

    def __init__(self, job: JobContext, *, ask: Callable[[], None], cut: Callable[[], None]) -> None:
        self._job = job
        self._ask = ask
        self._cut = cut
        self._fault: CloudqError | None = None

    @contextmanager
    def over(self, seconds: float, what: str) -> Iterator[None]:
        """Let the block run for at most `seconds`, and no longer than its job may.

        Raises TemporaryFailure("timeout ...") or what ended the job, in place of the error that the abort caused.
        """
        done = threading.Event()
        limit = min(seconds, self._job.time_remaining)
        thread = threading.Thread(target=self._watch, args=(done, limit, what), name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        except Exception as error:
            if self._fault is not None:
                raise self._fault from error
            raise
        finally:
            done.set()
            thread.join()
        if self._fault is not None:
            raise self._fault

    def _watch(self, done: threading.Event, limit: float, what: str) -> None:
        deadline = time.monotonic() + limit
        while not done.wait(max(0.0, min(_TICK, deadline - time.monotonic()))):
            fault = self._why_end(deadline, limit, what)
            if fault is not None:
                self._fault = fault
                self._end(done)
                return

    def _why_end(self, deadline: float, limit: float, what: str) -> CloudqError | None:
        try:
            self._job.check()
        except CloudqError as error:
            return error
        if time.monotonic() >= deadline:
            return TemporaryFailure(f"timeout: {what} took longer than {limit:g} s")
        return None

    def _end(self, done: threading.Event) -> None:
        polite = threading.Thread(target=self._quietly, args=(self._ask,), daemon=True)
        polite.start()
        # Nobody answers a polite request at a peer that is silent; a job past its timeout must not wait for it.
        if not done.wait(min(_PATIENCE, max(0.2, self._job.time_remaining))):
            self._quietly(self._cut)

    @staticmethod
    def _quietly(act: Callable[[], None]) -> None:
        with suppress(Exception):
            act()

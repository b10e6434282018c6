"""Ends a blocking call from outside: when it takes too long, and when its job was cancelled meanwhile.

A thread in a client library cannot look at the clock; this one can, and pulls the connection away from under it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from cloudq_tui.errors import CloudqError, TemporaryFailure
from cloudq_tui.models.context import JobContext

_TICK = 0.2  # seconds between two looks
_PATIENCE = 1.5  # seconds a call gets to end by itself before it is aborted harder


T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """What `act` returns or raises. Raises TimeoutError when that takes longer; its thread is left behind then."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(act())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is awaited
            answer.set_exception(error)

    threading.Thread(target=run, name="within", daemon=True).start()
    return answer.result(seconds)


class Attempt(Generic[T]):
    """A call that nothing can interrupt, such as connecting: made in a thread that is left behind when it is late.

    What a late call makes after all goes to `discard`.
    """

    def __init__(self, act: Callable[[], T], *, discard: Callable[[T], None]) -> None:
        self._act = act
        self._discard = discard
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._left = False
        self._made: list[T] = []
        self._error: BaseException | None = None

    def result(self, job: JobContext, seconds: float, what: str) -> T:
        """Raises what the call raised, TemporaryFailure("timeout ..."), or what ended the job."""
        limit = min(seconds, job.time_remaining)
        deadline = time.monotonic() + limit
        threading.Thread(target=self._run, name="attempt", daemon=True).start()
        while not self._done.wait(max(0.0, min(_TICK, deadline - time.monotonic()))):
            fault = _why_end(job, deadline, limit, what)
            with self._lock:
                if fault is not None and not self._done.is_set():
                    self._left = True
                    raise fault
        if self._error is not None:
            raise self._error
        return self._made[0]

    def _run(self) -> None:
        try:
            made = self._act()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            self._error = error
        else:
            with self._lock:
                if self._left:
                    with suppress(Exception):
                        self._discard(made)
                self._made.append(made)
        with self._lock:
            self._done.set()


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

    def give_up(self) -> None:
        """Request the end of a call that may still go on, as after a process worker's timeout, which strikes within."""
        self._request_end().join(_TICK)

    def _watch(self, done: threading.Event, limit: float, what: str) -> None:
        deadline = time.monotonic() + limit
        while not done.wait(max(0.0, min(_TICK, deadline - time.monotonic()))):
            fault = _why_end(self._job, deadline, limit, what)
            if fault is not None:
                self._fault = fault
                self._end(done)
                return

    def _end(self, done: threading.Event) -> None:
        self._request_end()
        if not done.wait(min(_PATIENCE, max(0.2, self._job.time_remaining))):
            self._quietly(self._cut)

    def _request_end(self) -> threading.Thread:
        """In a thread: nobody answers at a peer that is silent, and a job past its timeout must not wait for it."""
        polite = threading.Thread(target=self._quietly, args=(self._ask,), daemon=True)
        polite.start()
        return polite

    @staticmethod
    def _quietly(act: Callable[[], None]) -> None:
        with suppress(Exception):
            act()


def _why_end(job: JobContext, deadline: float, limit: float, what: str) -> CloudqError | None:
    try:
        job.check()
    except CloudqError as error:
        return error
    if time.monotonic() >= deadline:
        return TemporaryFailure(f"timeout: {what} took longer than {limit:.3g} s")
    return None

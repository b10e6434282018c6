"""Looks at Redis at a steady pace: one look in flight, late answers dropped, patience while Redis is away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from textual.message import Message

from cloudq_tui.errors import CloudqError, QueueUnavailable
from cloudq_tui.tui.headline import Pulse
from cloudq_tui.tui.messages import Look, Polled, PollFailed

if TYPE_CHECKING:
    from cloudq_tui.services.operations import QueueOperations

PATIENCE = 20.0
"""Seconds after which a look counts as lost; its answer, should it still come, is late and dropped."""

BACKOFF = (1, 2, 3, 5, 8, 10)
"""Seconds between attempts to reach Redis again."""


class Host(Protocol):
    """What the poller needs of the app."""

    def post_message(self, message: Message) -> bool: ...
    def current_look(self) -> Look | None: ...
    def run_look(self, read: Callable[[], None]) -> None: ...


class Poller:
    """State of the looking; runs on the app's thread except for `_read`."""

    def __init__(self, host: Host, operations: QueueOperations, *, refresh: float, clock: Callable[[], float]) -> None:
        self.refresh = refresh
        self.serial = 0
        self.in_flight = False
        self.reason = ""
        self.answered_at: float | None = None
        self._host = host
        self._operations = operations
        self._clock = clock
        self._again = False
        self._started = 0.0
        self._failures = 0
        self._retry_at = 0.0

    def tick(self) -> None:
        """Called every `refresh` seconds."""
        if self.in_flight and self._clock() - self._started > PATIENCE:
            self.failed(PollFailed(self.serial, f"no answer for {PATIENCE:.0f} s"))
        elif not self.reason or self._clock() >= self._retry_at:
            self.poll(again=False)

    def poll(self, *, again: bool = True) -> None:
        """Look now; `again`: if a look is in flight, look once more when it is back."""
        if self.in_flight:
            self._again = self._again or again
            return
        self.in_flight = True
        self.serial += 1
        self._started = self._clock()
        self._host.run_look(partial(self._read, self.serial, self._host.current_look()))

    def _read(self, serial: int, look: Look | None) -> None:
        """In a thread: the one round trip of the snapshot, then the screen's own."""
        message: Message
        try:
            snapshot = self._operations.snapshot()
            message = Polled(serial, snapshot, look, self._answer(look))
        except CloudqError as error:
            message = PollFailed(serial, str(error))
        except Exception as error:  # noqa: BLE001 - whatever broke, the screen stays and says so
            message = PollFailed(serial, f"{type(error).__name__}: {error}")
        with contextlib.suppress(RuntimeError):  # the app has closed meanwhile
            self._host.post_message(message)

    def _answer(self, look: Look | None) -> Any:
        if look is None:
            return None
        try:
            return look.read(self._operations)
        except QueueUnavailable:
            raise
        except CloudqError as error:
            return error

    def accept(self, message: Polled) -> bool:
        """Whether this answer counts; a late one does not."""
        if message.serial != self.serial:
            return False
        self.reason, self._failures = "", 0
        self.answered_at = self._clock()
        self._landed()
        return True

    def failed(self, message: PollFailed) -> bool:
        if message.serial != self.serial:
            return False
        self.reason = message.reason or "no answer"
        self._retry_at = self._clock() + BACKOFF[min(self._failures, len(BACKOFF) - 1)]
        self._failures += 1
        self.serial += 1
        self._again = False
        self._landed()
        return True

    def _landed(self) -> None:
        self.in_flight = False
        if self._again:
            self._again = False
            self.poll()

    def pulse(self) -> Pulse:
        """How fresh the screen is now."""
        now = self._clock()
        age = None if self.answered_at is None else max(0.0, now - self.answered_at)
        if self.reason:
            return Pulse(age=age, reason=self.reason, retry_in=max(0, round(self._retry_at - now)))
        return Pulse(age=age, stale=age is not None and age > max(3.0, 3 * self.refresh))

"""What a running job's processor may ask of the engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol


class JobContext(Protocol):
    """The `job` a processor receives. Every write is fenced by the job's lease.

    Any call that writes raises `LeaseLost` when the job belongs to somebody else by now, and
    `update_progress` and `check` raise `Cancelled` when a person cancelled it, `TemporaryFailure("timeout ...")`
    when its timeout has passed.
    """

    @property
    def id(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def attempt(self) -> int:
        """This run's number, 1 for the first."""
        ...

    @property
    def retries_left(self) -> int:
        """How many more attempts the job has when this one fails."""
        ...

    @property
    def last_checkpoint(self) -> Any:
        """What `checkpoint` stored last, also in an earlier attempt; None if nothing."""
        ...

    @property
    def time_remaining(self) -> float:
        """Seconds left until the job's timeout; inf without one. Pass it on to clients."""
        ...

    def update_progress(self, percent: float, step: str = "") -> None:
        """Show progress (0 to 100) and the name of the step under way."""
        ...

    def log(self, text: str) -> None:
        """Add one line to the job's own log."""
        ...

    def checkpoint(self, data: Any) -> None:
        """Store plain data that survives retries and the death of this worker."""
        ...

    def scrub(self, data: Any) -> None:
        """Put `data` in the place of a payload whose secret was used; the job cannot be retried after that."""
        ...

    def check(self) -> None:
        """Raise if the job was cancelled, timed out or lost. Costs no round trip."""
        ...

    def defer(self, delay: float, reason: str) -> None:
        """Put the job off by `delay` seconds without using an attempt. Always raises Deferred."""
        ...

    def limit(self, key: str, count: int, per: float) -> float:
        """Take one of `count` places in any window of `per` seconds, for all workers together.

        Returns 0.0 when taken, else the seconds until a place frees (nothing is taken then).
        """
        ...

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Own `key` in this queue while the block runs; yields False if another live job owns it."""
        ...

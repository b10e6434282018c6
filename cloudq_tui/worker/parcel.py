"""What passes between a process's threads and Redis: jobs taken, finishes handed in, and the call that carries both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudq_tui.engine.records import ClaimedJob, ClaimResult, Finish, Outcome, Pending, QueueClaim
from cloudq_tui.errors import CloudqError
from cloudq_tui.worker.leases import HeldLease

if TYPE_CHECKING:
    from cloudq_tui.worker.huey import CloudqHuey

logger = logging.getLogger("cloudq.worker")

Answer = Pending[tuple[list[bool], ClaimResult]]


class Taken:
    """A job in a thread's hands."""

    __slots__ = ("claim", "held", "since")

    def __init__(self, claim: ClaimedJob, held: HeldLease, since: float) -> None:
        self.claim = claim
        self.held = held
        self.since = since


class Handed:
    """A finish on its way, and what is to be done once it was accepted."""

    __slots__ = ("after", "finish", "refused", "tries")

    def __init__(self, finish: Finish, after: Callable[[], None] | None = None, *, refused: bool = False) -> None:
        self.finish = finish
        self.after = after
        self.refused = refused  # stands for a finish that could not be stored
        self.tries = 0


class Parcel:
    """One call to the engine: finishes handed in, and what is claimed in return."""

    __slots__ = ("_answer", "_fault", "claims", "handed", "limit", "request", "since", "wanted")

    def __init__(
        self, handed: list[Handed], request: str = "", claims: list[QueueClaim] | None = None, limit: int = 0
    ) -> None:
        self.handed = handed
        self.request = request
        self.claims = claims or []
        self.limit = limit
        self.wanted = bool(request)  # somebody asked for jobs, also where no queue has room for one
        self.since = time.monotonic()
        self._answer: Answer | None = None
        self._fault: Exception | None = None

    def send(self, huey: CloudqHuey) -> None:
        """Ahead of `deliver`, which raises what went wrong here: there it can be dealt with."""
        try:
            self._answer = self._begin(huey)
        except Exception as error:  # noqa: BLE001 - see above
            self._fault = error

    def arrived(self) -> bool:
        """Whether `deliver` need not wait."""
        return self._answer is None or self._answer.arrived()

    def deliver(self, huey: CloudqHuey) -> ClaimResult:
        """Send it, unless it was, and do what follows the finishes that were accepted. Raises as the engine does."""
        if self._fault is not None:
            raise self._fault
        if self.handed:
            accepted, result = (self._answer or self._begin(huey))()
            huey.leases.drop_all([one.finish for one in self.handed])
            for one, held in zip(self.handed, accepted, strict=True):
                _settle(one, held)
            return result
        return huey.engine.claim(self.claims, **self._asked(huey)) if self.claims else ClaimResult((), None)

    def await_work(self, huey: CloudqHuey, timeout: float) -> ClaimResult:
        """Claim as soon as there is something, at most `timeout` seconds later."""
        return huey.engine.wait_and_claim(self.claims, timeout, **self._asked(huey))

    def _begin(self, huey: CloudqHuey) -> Answer:
        finishes = [one.finish for one in self.handed]
        return huey.engine.begin_finish(
            finishes,
            retention=huey.retention(finishes),
            claim=self.claims,
            **self._asked(huey),
        )

    def _asked(self, huey: CloudqHuey) -> dict[str, Any]:
        return {
            "worker": huey.leases.worker,
            "request": self.request,
            "lease": huey.leases.options.lease_ms,
            "limit": self.limit,
            "space": huey.name,
        }


def _settle(one: Handed, held: bool) -> None:
    finish = one.finish
    if not held and one.tries == 0 and finish.outcome is not Outcome.RELEASE:
        logger.warning("job %s in %s had lost its lease; its end was not counted", finish.id, finish.queue)
    if held and one.after is not None:
        try:
            one.after()
        except CloudqError as error:
            logger.warning("job %s ended, but not all was tidied up: %s", finish.id, error)


def release(claim: ClaimedJob) -> Finish:
    """The job was not run: others may have it at once."""
    return Finish(claim.queue, claim.id, claim.token, Outcome.RELEASE, counted=False)

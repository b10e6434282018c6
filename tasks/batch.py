"""Sends the items of one job one by one, so that a run that was killed goes on where it stopped.

Each outcome is checkpointed before the next item is tried: whatever dies in between, at most the one in flight
goes twice. Knows no mail and no message; processors give it a function that sends one item.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cloudq_tui.errors import Conflict, JobSignal, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.contacts import peer_words

Outcome = dict[str, Any]


class Halted(Exception):
    """Nothing can be sent at all now (server away, login refused); `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))


class OverLimit(Exception):
    """This item may not go out for `wait` seconds; `for_all` when none of the others may either."""

    def __init__(self, wait: float, reason: str, *, for_all: bool = False) -> None:
        self.wait = wait
        self.reason = reason
        self.for_all = for_all
        super().__init__(reason)


class Partly(Exception):
    """An item went out in part: `outcome` is how it stands, `left` what its next try needs to know, `cause` why."""

    def __init__(self, outcome: Outcome, left: Any, cause: TemporaryFailure) -> None:
        self.outcome = outcome
        self.left = left
        self.cause = cause
        super().__init__(str(cause))


class Batch:
    """The state of one batch job: what its checkpoint says, and what this run adds to it."""

    def __init__(self, job: JobContext, total: int, what: str) -> None:
        stored = job.last_checkpoint
        known = stored if isinstance(stored, dict) else {}
        outcomes: dict[str, Outcome] = dict(known.get("outcomes", {}))
        if known.get("ended"):
            # The job had ended and a person retried it: what failed then gets its chance again.
            outcomes = {key: outcome for key, outcome in outcomes.items() if outcome["status"] == "sent"}
        self._job = job
        self._total = total
        self._what = what
        self._outcomes = outcomes
        self._tried: dict[str, float] = dict(known.get("tried", {}))
        self._partly: dict[str, dict[str, Any]] = dict(known.get("partly", {}))
        self._put_off: dict[int, Exception] = {}
        self._waits: list[OverLimit] = []
        self._halt: Exception | None = None

    @property
    def finished(self) -> int:
        return len(self._outcomes)

    def open_items(self) -> list[int]:
        """The indexes that no run has settled yet."""
        return [index for index in range(self._total) if str(index) not in self._outcomes]

    def begin_try(self, index: int) -> None:
        """Keep that this item is being tried now, for a run that follows when this one is killed."""
        self._tried[str(index)] = time.time()
        self._save()

    def seconds_since_try(self, index: int) -> float | None:
        """How long ago an earlier run tried this item, in vain or to an end nobody knows; None if none did."""
        at = self._tried.get(str(index))
        return None if at is None else max(0.0, time.time() - at)

    def part_sent(self, index: int) -> tuple[Outcome, Any] | None:
        """The outcome so far, and what is left, of an item that an earlier run sent in part."""
        partly = self._partly.get(str(index))
        return None if partly is None else (partly["outcome"], partly["left"])

    def run(
        self,
        send: Callable[[int], Outcome],
        *,
        show: Callable[[int, int], None],
        pause: float = 0.0,
    ) -> None:
        """Try every open item once. `show(finished, total)` reports progress; `pause` seconds between items."""
        for count, index in enumerate(self.open_items()):
            if count and pause:
                time.sleep(min(pause, max(0.0, self._job.time_remaining)))
            show(self.finished, self._total)
            self._job.check()
            if not self._try(index, send):
                break

    def _try(self, index: int, send: Callable[[int], Outcome]) -> bool:
        """One item; False when the run should stop here."""
        try:
            outcome = {"status": "sent", **send(index)}
        except Halted as halted:
            self._halt = halted.cause
            return False
        except OverLimit as limit:
            self._waits.append(limit)
            return not limit.for_all
        except Partly as partly:
            self._partly[str(index)] = {"outcome": partly.outcome, "left": partly.left}
            self._put_off[index] = partly.cause
            self._save()
            return True
        except TemporaryFailure as error:
            self._put_off[index] = error
            self._tried[str(index)] = time.time()
            return True
        except PermanentFailure as error:
            if self._alone(index):
                raise
            outcome = self._failed(index, str(error))
        except (JobSignal, Conflict):
            raise
        except Exception as error:
            # One item that trips the code must not stop the others; alone, its own error says most.
            if self._alone(index):
                raise
            outcome = self._failed(index, peer_words(f"{type(error).__name__}: {error}"))
        self._settle(index, outcome)
        return True

    def _settle(self, index: int, outcome: Outcome) -> None:
        self._outcomes[str(index)] = outcome
        self._tried.pop(str(index), None)
        self._partly.pop(str(index), None)
        self._save()

    def _alone(self, index: int) -> bool:
        """Whether this item is all of the job and none of it is out, so that its error is the job's."""
        return self._total == 1 and str(index) not in self._partly

    def _failed(self, index: int, error: str) -> Outcome:
        """An item of which some part was sent counts as sent; its outcome says what was not."""
        partly = self._partly.get(str(index))
        return {"status": "failed", "error": error} if partly is None else {"status": "sent", **partly["outcome"]}

    def _save(self, **more: Any) -> None:
        self._job.checkpoint({"outcomes": self._outcomes, "tried": self._tried, "partly": self._partly, **more})

    def conclude(self, describe: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
        """The job's result with every item's outcome; `describe(index)` adds whom it was for.

        Raises instead, when items are left to be tried (TemporaryFailure or the cause, Deferred), or when
        nothing was sent at all (PermanentFailure).
        """
        last = self._job.retries_left <= 0
        if self._halt is not None or self._put_off:
            if not last or not self._any_sent():
                self._save(ended=last)
                raise self._reason_to_retry()
            self._give_up()
        if self._waits and self.open_items():
            self._save()
            soonest = min(self._waits, key=lambda limit: limit.wait)
            self._job.defer(soonest.wait, soonest.reason)
        result = self._result(describe)
        if result["failed"]:
            self._save(ended=True)
        if not result["sent"]:
            raise PermanentFailure(self._none_sent(result))
        return result

    def _any_sent(self) -> bool:
        return bool(self._partly) or any(outcome["status"] == "sent" for outcome in self._outcomes.values())

    def _reason_to_retry(self) -> Exception:
        if self._halt is not None:
            return self._halt
        first = next(iter(self._put_off.values()))
        if self._total == 1:
            return first
        waits = [e.retry_after for e in self._put_off.values() if isinstance(e, TemporaryFailure)]
        return TemporaryFailure(
            f"{len(self._put_off)} of {self._total} {self._what} to be tried again: {first}",
            retry_after=max((wait for wait in waits if wait is not None), default=None),
        )

    def _give_up(self) -> None:
        """The attempts are used up: what could not be sent until now counts as failed."""
        waiting = self._waits and self._halt is None
        for index in self._put_off if waiting else self.open_items():
            error = self._put_off.get(index, self._halt)
            self._outcomes[str(index)] = self._failed(index, peer_words(str(error)))
        self._save()

    def _none_sent(self, result: dict[str, Any]) -> str:
        first = result["outcomes"][0]["error"]
        return f"none of {self._total} {self._what} was sent: {first}"

    def _result(self, describe: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
        outcomes = [{"index": i, **describe(i), **self._outcomes[str(i)]} for i in range(self._total)]
        sent = sum(outcome["status"] == "sent" for outcome in outcomes)
        return {"total": self._total, "sent": sent, "failed": self._total - sent, "outcomes": outcomes}

"""One run of a claimed job: what Huey's own `execute` does is watched and gathered into a single fenced Finish.

While the processor runs its writes go out at once (locks, other jobs, whatever it does). From the moment it has
returned, what Huey writes for it (result, follow-ups, its part of a chord) is held back: it leaves with the finish,
or not at all when the lease was lost.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from huey import signals as S  # noqa: N812 - as Huey itself calls it
from huey.api import Huey
from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskTimeout

from cloudq_tui.engine import codec
from cloudq_tui.engine.records import (
    ChordMember,
    ClaimedJob,
    FailureKind,
    Finish,
    KeyWrite,
    NewJob,
    Outcome,
)
from cloudq_tui.errors import (
    Cancelled,
    Deferred,
    InvalidPayload,
    JobSignal,
    PermanentFailure,
    TemporaryFailure,
    UnreadableJob,
)
from cloudq_tui.models.job import Attempt, Backoff
from cloudq_tui.worker.tasks import CloudqTask, milliseconds_until

if TYPE_CHECKING:
    from cloudq_tui.worker.execution import ExecutingHuey

_TRACEBACK = 8000  # characters kept of a traceback, its end
_LINE = 2000  # characters kept of an error's line
_WEEK = 7 * 24 * 3600 * 1000


class DeferredTask(RetryTask):  # type: ignore[misc]
    """Deferred, in Huey's words: a retry that uses no attempt."""


class CancelledTask(CancelExecution):  # type: ignore[misc]
    """Cancelled, in Huey's words: never retried."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=False)


class JobRun:
    """The run of `task` under its claim."""

    def __init__(self, huey: ExecutingHuey, task: CloudqTask, claim: ClaimedJob, *, trust_claim: bool) -> None:
        self.huey = huey
        self.task = task
        self.claim = claim
        self.trust_claim = trust_claim  # revocations read in the claim are fresh enough
        self.gathering = False
        self.writes: dict[str, KeyWrite] = {}
        self.follow_ups: list[NewJob] = []
        self.chords: list[ChordMember] = []
        self.callbacks: dict[str, CloudqTask] = {}
        self.signal = ""
        self.value: Any = None
        self.exception: BaseException | None = None
        self.broken: Exception | None = None
        self.retry: int | None = None
        self.began = time.monotonic()

    def execute(self, timestamp: Any = None) -> Any:
        """Run Huey's `execute` with this run in charge of what it writes."""
        local = self.huey.local
        outer, local.run = getattr(local, "run", None), self
        try:
            self.value = Huey.execute(self.huey, self.task, timestamp)
        except KeyboardInterrupt:
            self.signal = S.SIGNAL_INTERRUPTED
        except Exception as error:  # noqa: BLE001 - Huey's bookkeeping failed: the job must still end
            self.broken = error
        finally:
            local.run = outer
        return self.value

    # --- what the huey tells ---

    def note(self, signal: str, *args: Any) -> None:
        """A signal about this task, before its receivers see it."""
        if signal == S.SIGNAL_ERROR and args and isinstance(args[0], PermanentFailure | UnreadableJob | InvalidPayload):
            self.task.retries = 0
        if signal in _ENDINGS:
            self.signal = signal

    def requeue(self, eta: Any) -> None:
        """Huey wants the task again: at `eta`, or by its policy."""
        self.task.retries -= 1
        self.retry = self._retry_delay(eta)

    def member(self, chord: Any, value: Any) -> None:
        """This job's part of a chord."""
        callback = chord.callback
        callback.chord_results = chord.cid
        self.callbacks[chord.cid] = callback
        encoded = codec.encode(value)
        self.chords.append(ChordMember(chord.cid, chord.idx, chord.size, encoded, self.huey.new_job(callback)))

    def write(self, key: str, value: bytes | None, ttl: int = 0) -> None:
        self.writes[key] = KeyWrite(key, value, ttl)

    # --- the end ---

    @property
    def duration(self) -> float:
        return time.monotonic() - self.began

    def finish(self) -> Finish:
        """How it ended, for the engine."""
        error = self.broken or self.exception
        if error is not None:
            return self._finish_with(error)
        if self.signal == S.SIGNAL_INTERRUPTED:
            return self._end(Outcome.RELEASE, bare=True)
        if self.signal in _EXCLUDED:
            kind, text = _EXCLUDED[self.signal]
            return self._end(Outcome.FAILED, kind=kind, text=text, counted=False)
        try:
            result = None if self.value is None else self._encoded()
        except Exception as unstorable:  # noqa: BLE001 - as in execute
            return self._end(Outcome.FAILED, error=unstorable, bare=True)
        return self._end(Outcome.COMPLETED, result=result)

    def _encoded(self) -> bytes:
        """The value, as Huey has just stored it for its result; encoded here where it did not, or compressed it."""
        stored = None if self.huey.serializer.comp else self.writes.get(self.task.id)
        return codec.encode(self.value) if stored is None or stored.value is None else stored.value

    def _finish_with(self, error: BaseException) -> Finish:
        if self.broken is not None:
            return self._end(Outcome.FAILED, error=error, bare=True)
        if self.retry is None:
            return self._end(Outcome.FAILED, error=error, kind=_kind(error))
        outcome = Outcome.DEFER if isinstance(error, DeferredTask) else Outcome.RETRY
        return self._end(outcome, error=error, delay=self.retry, counted=_uses_an_attempt(error))

    def _end(
        self,
        outcome: Outcome,
        *,
        error: BaseException | None = None,
        kind: FailureKind = FailureKind.ERROR,
        text: str = "",
        result: bytes | None = None,
        delay: int = 0,
        counted: bool = True,
        bare: bool = False,
    ) -> Finish:
        """`bare` leaves out what was gathered: the run did not get far enough for it to be whole."""
        line = text or (one_line(error) if error is not None else "")
        return Finish(
            queue=self.claim.queue,
            id=self.claim.id,
            token=self.claim.token,
            outcome=outcome,
            result=result,
            kind=kind,
            error=line,
            detail=self._detail(outcome, kind, line, error) if line and outcome is not Outcome.DEFER else b"",
            delay=delay,
            counted=counted,
            writes=() if bare else tuple(self.writes.values()),
            follow_ups=() if bare else tuple(self.follow_ups),
            chords=() if bare else tuple(self.chords),
        )

    def _detail(self, outcome: Outcome, kind: FailureKind, line: str, error: BaseException | None) -> bytes:
        name = "retried" if outcome is Outcome.RETRY else kind.value
        return attempt_record(self.claim, name, line, self.huey.leases.worker, error=error, seconds=self.duration)

    def _retry_delay(self, eta: Any) -> int:
        """Milliseconds until the next try."""
        error = self.exception
        if isinstance(error, RateLimitExceeded):
            return _ms(self.task.retry_delay or error.delay)
        if isinstance(error, RetryTask) and error.delay is not None:
            return _ms(error.delay)
        if eta is not None:
            return milliseconds_until(eta, self.huey.utc)
        if isinstance(error, TemporaryFailure) and error.retry_after is not None:
            return _ms(error.retry_after)
        if self.claim.backoff:
            return Backoff.model_validate_json(self.claim.backoff).wait(self.claim.failures + 1)
        return _ms(self.task.retry_delay)


_ENDINGS = frozenset({S.SIGNAL_REVOKED, S.SIGNAL_EXPIRED, S.SIGNAL_CANCELED, S.SIGNAL_INTERRUPTED})
_EXCLUDED = {
    S.SIGNAL_REVOKED: (FailureKind.REVOKED, "revoked before it ran"),
    S.SIGNAL_EXPIRED: (FailureKind.EXPIRED, "expired before it ran"),
    S.SIGNAL_CANCELED: (FailureKind.CANCELLED, "cancelled by a hook before it ran"),
}


def _uses_an_attempt(error: BaseException | None) -> bool:
    """RetryTask never does; a rate limit does when its author said not to wait for it."""
    return not (isinstance(error, RetryTask) or (isinstance(error, RateLimitExceeded) and error.retry))


def _kind(error: BaseException) -> FailureKind:
    if isinstance(error, TaskTimeout):
        return FailureKind.TIMEOUT
    if isinstance(error, CancelExecution):
        return FailureKind.CANCELLED
    if isinstance(error, UnreadableJob):
        return FailureKind.UNREADABLE
    return FailureKind.ERROR


def attempt_record(
    claim: ClaimedJob,
    outcome: str,
    line: str,
    worker: str,
    *,
    error: BaseException | None = None,
    seconds: float = 0.0,
) -> bytes:
    """One attempt for the job's history: models.job.Attempt as JSON."""
    attempt = Attempt(
        number=claim.failures + 1,
        outcome=outcome,
        error=line,
        traceback=_traceback_of(error) if error is not None else "",
        started=claim.processed_on,
        finished=claim.processed_on + round(seconds * 1000),
        worker=worker,
    )
    return json.dumps(asdict(attempt), separators=(",", ":")).encode()


def in_huey_words(error: BaseException | None) -> BaseException | None:
    """The exception Huey should see instead of a JobSignal; None when it may see it as it is."""
    if isinstance(error, Deferred):
        return DeferredTask(error.reason, delay=error.delay)
    if isinstance(error, Cancelled):
        return CancelledTask(str(error))
    return None


def one_line(error: BaseException) -> str:
    """An error as one line: what a person scans in a list. A signal of ours speaks for itself."""
    text = str(error).strip().split("\n", 1)[0][:_LINE]
    if isinstance(error, JobSignal | UnreadableJob | DeferredTask | CancelledTask) and text:
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _ms(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), 52 * _WEEK)


def _traceback_of(error: BaseException) -> str:
    """The end of the traceback, its files named as they are imported: shorter, and the same on every host."""
    text = "".join(traceback.format_exception(error))
    for folder in sorted({path for path in sys.path if path}, key=len, reverse=True):
        text = text.replace(f'File "{folder}/', 'File "')
    return text[-_TRACEBACK:]

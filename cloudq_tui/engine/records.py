"""What goes into and comes out of the engine's scripts. Durations and times in milliseconds, data as bytes.

Nothing here is ever changed. What is made for every job is not frozen all the same: that would triple its cost.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cloudq_tui.models.job import JobPriority

T = TypeVar("T")


@dataclass(slots=True)
class NewJob:
    """A job to add. `message` is the encoded call (engine/codec.py), opaque to the scripts.

    `unique` marks an id chosen by the producer: it deduplicates for at least `dedupe_ttl`. `rerun` lets an id whose
    job has finished be added afresh, as Huey does when the same task is enqueued again.
    `keep_completed` and `keep_failed`: "" for the queue's retention, "0" to remove at once, or "AGE_S:COUNT"
    with either part empty.
    """

    id: str
    queue: str
    name: str
    message: bytes
    rank: int = int(JobPriority.NORMAL)
    delay: int = 0
    retries: int = 0
    backoff: str = ""
    timeout: int = 0
    unique: bool = False
    rerun: bool = False
    keep_completed: str = ""
    keep_failed: str = ""


@dataclass(frozen=True, slots=True)
class QueueClaim:
    """What one queue may give in a claim: at most `want` jobs, while fewer than `concurrency` of its jobs are
    active anywhere (0: no limit) and its limiter leaves a start (`limit_max` 0: no limiter)."""

    queue: str
    want: int
    concurrency: int = 0
    limit_max: int = 0
    limit_duration: int = 0


@dataclass(slots=True)
class ClaimedJob:
    """A job in a worker's hands. `token` fences every later write. `failures` are the attempts already used.

    `message` is None when the stored payload is gone. `revoked` and `name_revoked` are the raw Huey
    revocations of this id and of its task, read in the claim.
    """

    queue: str
    id: str
    token: str
    name: str
    message: bytes | None
    rank: int
    timestamp: int
    processed_on: int
    retries: int
    failures: int
    stalled: int
    backoff: str
    timeout: int
    checkpoint: bytes | None
    revoked: bytes | None
    name_revoked: bytes | None


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A job that has not started, with its message. `due` is set while it is delayed."""

    id: str
    name: str
    message: bytes
    rank: int
    timestamp: int
    retries: int
    failures: int
    backoff: str
    timeout: int
    due: int | None


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The jobs, and in how many ms the next one may become ready (None: nothing is scheduled)."""

    jobs: tuple[ClaimedJob, ...]
    next_due: int | None


class Outcome(enum.StrEnum):
    """How a run ended; the value is the code the finish script reads."""

    COMPLETED = "c"
    FAILED = "f"
    RETRY = "r"
    DEFER = "d"
    RELEASE = "l"


class FailureKind(enum.StrEnum):
    """Why a job failed for good. The kinds of `EXCLUDED` are outside the failure rate and the alerts."""

    ERROR = "error"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    UNREADABLE = "unreadable"
    REVOKED = "revoked"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


EXCLUDED = frozenset({FailureKind.REVOKED, FailureKind.EXPIRED, FailureKind.CANCELLED})


@dataclass(slots=True)
class KeyWrite:
    """A Huey storage write that must land with the finish or not at all. `value` None deletes the key."""

    key: str
    value: bytes | None
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class ChordMember:
    """A chord's member result, stored under (chord, index) with the finish. The member that completes the set of
    `size` adds `callback`; the results are read with `QueueEngine.chord_results` when that runs."""

    chord: str
    index: int
    size: int
    value: bytes
    callback: NewJob


@dataclass(slots=True)
class Finish:
    """The end of one run, by the holder of `token`.

    COMPLETED uses `result` (shown to people, may be None); FAILED uses `kind`, `error` (one line) and `detail`
    (an encoded Attempt); RETRY uses `delay`, `counted` (whether an attempt was used), `error`, `detail`;
    DEFER uses `delay` and `error` as the reason; RELEASE uses `delay` (0: its old place at once).
    """

    queue: str
    id: str
    token: str
    outcome: Outcome
    result: bytes | None = None
    kind: FailureKind = FailureKind.ERROR
    error: str = ""
    detail: bytes = b""
    delay: int = 0
    counted: bool = True
    writes: tuple[KeyWrite, ...] = ()
    follow_ups: tuple[NewJob, ...] = ()
    chords: tuple[ChordMember, ...] = ()


@dataclass(slots=True)
class Pending(Generic[T]):
    """A call on its way. Calling this waits for its answer, once; `arrived` tells whether that can be read at once."""

    answer: Callable[[], T]
    arrived: Callable[[], bool] = lambda: True

    def __call__(self) -> T:
        return self.answer()


@dataclass(frozen=True, slots=True)
class Retention:
    """What the finish keeps: completed jobs by age (ms) and count, failed jobs by age (ms). 0: no limit."""

    completed_age: int = 24 * 3600 * 1000
    completed_count: int = 1000
    failed_age: int = 7 * 24 * 3600 * 1000


class Renewal(enum.IntEnum):
    """What a renew says of one lease."""

    LOST = 0
    HELD = 1
    CANCELLED = 2


@dataclass(slots=True, unsafe_hash=True)
class Lease:
    """A lease as its holder knows it."""

    queue: str
    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Presence:
    """What a worker process says of itself with each heartbeat. `clock` is its own clock then, epoch ms."""

    worker: str
    host: str
    pid: int
    queues: tuple[str, ...]
    threads: int = 0
    running: int = 0
    started: int = 0
    version: str = ""
    clock: int = 0


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One job a worker can run: its queue, name, payload JSON schema and retry policy (both JSON text)."""

    queue: str
    name: str
    schema: str = ""
    retries: int = 0
    backoff: str = ""
    limiter: tuple[int, int] = field(default=(0, 0))

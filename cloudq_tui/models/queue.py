"""Queues as readers see them: counts, rates, pauses, and what a bulk verb did."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudq_tui.models.alert import Alert
from cloudq_tui.models.job import Job
from cloudq_tui.models.worker import WorkerInfo


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Jobs kept now, by state. While a queue is paused its backlog is `paused` and `waiting` is 0."""

    waiting: int = 0
    active: int = 0
    completed: int = 0
    failed: int = 0
    delayed: int = 0
    paused: int = 0


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The short form: a name and its counts; all 0 where `problem` says why they cannot be read."""

    name: str
    counts: QueueCounts
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a queue, why, since when and until when (epoch ms; `until` None: until resumed)."""

    by: str
    why: str
    since: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class LimiterState:
    """A queue's limiter: `left` starts of `max` in any `duration` ms; `frees_at` when none are left."""

    max: int
    duration: int
    left: int
    frees_at: int | None = None


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue as the overview shows it.

    `failure_rate` (0 to 1) is over the finishes of the last 15 minutes, None below 20 finishes.
    `in_rate` and `out_rate` are jobs per second over the last 30 s; `history` is finishes per 5 s slot over the
    last 60 s, oldest first (12 numbers); `mean_duration` is ms over the last 15 minutes, None without finishes.
    `oldest_waiting` is the epoch ms since which the oldest job waits. `concurrency` is how many jobs the settings let
    run at one time, 0 without a limit. `problem` says why none of this could be read, "" where it was.
    """

    name: str
    counts: QueueCounts
    pause: Pause | None = None
    failure_rate: float | None = None
    finishes: int = 0
    in_rate: float = 0.0
    out_rate: float = 0.0
    mean_duration: float | None = None
    oldest_waiting: int | None = None
    history: tuple[int, ...] = ()
    limiter: LimiterState | None = None
    concurrency: int = 0
    workers: int = 0
    alerts: tuple[Alert, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RedisInfo:
    """The server looked at. Memory in bytes; `round_trip` in ms; `max_memory` 0 means no limit."""

    version: str = ""
    address: str = ""
    used_memory: int = 0
    max_memory: int = 0
    round_trip: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the overview shows, read in one round trip. `timestamp` is the server's clock, epoch ms.

    `known` names every queue that ever had a job or a worker, asked for here or not.
    """

    timestamp: int
    queues: tuple[QueueView, ...] = ()
    active: tuple[Job, ...] = ()
    workers: tuple[WorkerInfo, ...] = ()
    redis: RedisInfo = field(default_factory=RedisInfo)
    known: tuple[str, ...] = ()

    def queue(self, name: str) -> QueueView | None:
        return next((view for view in self.queues if view.name == name), None)


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a bulk verb did so far: jobs moved, skipped (they changed meanwhile), and still to do."""

    moved: int = 0
    skipped: int = 0
    remaining: int = 0


@dataclass(frozen=True, slots=True)
class Preview:
    """What a bulk verb would touch. `oldest` and `newest` are epoch ms; names and errors are (text, count),
    most frequent first, counted over a sample of at most `sampled` jobs. `at_most`: some of `count` are too young, and
    how many was not looked through."""

    count: int
    oldest: int | None = None
    newest: int | None = None
    names: tuple[tuple[str, int], ...] = ()
    errors: tuple[tuple[str, int], ...] = ()
    sampled: int = 0
    by_state: tuple[tuple[str, int], ...] = ()
    at_most: bool = False

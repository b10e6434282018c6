"""A clock the tests move, and short ways to add, claim and end jobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import ClaimedJob, Finish, NewJob, Outcome, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine

QUEUE = "email"


class Bench:
    """An engine whose clock stands still unless moved, with defaults for everything a test does not speak of."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.engine = QueueEngine(connection, clock="clock_fixed")
        self.reader = QueueReader(connection, clock="clock_fixed")
        self._ids = itertools.count(1)
        self._requests = itertools.count(1)

    def pass_time(self, ms: int) -> None:
        """Move the scripts' clock forward."""
        self.connection.client.set("{clock}:now", self.now() + ms)

    def now(self) -> int:
        """The clock of the scripts, epoch ms."""
        return self.reader.snapshot([QUEUE]).timestamp

    def add(self, queue: str = QUEUE, name: str = "send-email", **fields: object) -> str:
        job_id = str(fields.pop("id", f"job-{next(self._ids):05}"))
        job = NewJob(id=job_id, queue=queue, name=name, message=pack_call(({"n": job_id},), {}), **fields)  # type: ignore[arg-type]
        assert self.engine.add(job)
        return job_id

    def claim(
        self, limit: int = 1, *queues: QueueClaim, worker: str = "w1", lease: int = 15_000, request: str = ""
    ) -> list[ClaimedJob]:
        request = request or f"{worker}-{next(self._requests)}"
        wanted = queues or (QueueClaim(QUEUE, limit),)
        return list(self.engine.claim(wanted, worker=worker, request=request, lease=lease, limit=limit).jobs)

    def finish(self, job: ClaimedJob, outcome: Outcome = Outcome.COMPLETED, **fields: object) -> bool:
        ended = Finish(queue=job.queue, id=job.id, token=job.token, outcome=outcome, **fields)  # type: ignore[arg-type]
        return self.engine.finish([ended])[0][0]

    def ids(self, state: str, queue: str = QUEUE) -> list[str]:
        from cloudq_tui.models.job import JobState

        return [job.id for job in self.reader.page(queue, JobState(state), 0, 999)]

    def counts(self, queue: str = QUEUE) -> dict[str, int]:
        """Only the states that hold jobs."""
        counts = self.reader.status([queue])[0].counts
        return {name: getattr(counts, name) for name in counts.__dataclass_fields__ if getattr(counts, name)}


@pytest.fixture
def bench(connection: Connection) -> Bench:
    return Bench(connection)


@pytest.fixture
def add(bench: Bench) -> Callable[..., str]:
    return bench.add

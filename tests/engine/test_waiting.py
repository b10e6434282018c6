"""Waiting and claiming in one round trip, and connections that stay at hand, on a real server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import ClaimResult, NewJob, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import InvalidOptions, QueueUnavailable
from cloudq_tui.models.job import JobState

QUEUE = "email"


def new(job_id: str, queue: str = QUEUE, **fields: Any) -> NewJob:
    return NewJob(job_id, queue, "send-email", pack_call((), {}), **fields)


class Waiting:
    """A worker that waits for a job in a thread of its own."""

    def __init__(self, engine: QueueEngine, request: str = "n.1", timeout: float = 20.0) -> None:
        self.found: ClaimResult | Exception | None = None

        def wait() -> None:
            try:
                self.found = engine.wait_and_claim(
                    [QueueClaim(QUEUE, 1)], timeout, worker="w", request=request, lease=10_000, limit=1
                )
            except QueueUnavailable as error:
                self.found = error

        self.thread = threading.Thread(target=wait, daemon=True)
        self.thread.start()

    def blocked(self, client: Any) -> Waiting:
        """Once the server says that somebody waits."""
        while client.info("clients")["blocked_clients"] == 0:
            self.thread.join(0.005)
            assert self.thread.is_alive(), self.found
        return self

    def ids(self) -> list[str]:
        self.thread.join(10)
        assert isinstance(self.found, ClaimResult), self.found
        return [job.id for job in self.found.jobs]


def test_who_waits_has_the_job_without_asking_for_it(engine: QueueEngine, connection: Connection) -> None:
    client = connection.client
    engine.claim([QueueClaim(QUEUE, 1)], worker="w", request="n.0", lease=1000, limit=1)  # the script is known now
    waiting = Waiting(engine).blocked(client)
    client.config_resetstat()
    engine.add(new("one"))
    assert waiting.ids() == ["one"]
    stats = client.info("commandstats")
    assert (stats["cmdstat_bzpopmin"]["calls"], stats["cmdstat_evalsha"]["calls"]) == (1, 2)  # the wait; add and claim


def test_a_wait_without_a_job_ends_in_its_time_with_none(engine: QueueEngine) -> None:
    assert Waiting(engine, timeout=0.02).ids() == []


def test_a_server_that_forgot_the_scripts_while_somebody_waits(engine: QueueEngine, connection: Connection) -> None:
    waiting = Waiting(engine).blocked(connection.client)
    connection.client.script_flush()
    engine.add(new("one"))
    assert waiting.ids() == ["one"]


def test_who_stops_waiting_is_given_nothing_more(engine: QueueEngine, connection: Connection) -> None:
    waiting = Waiting(engine).blocked(connection.client)
    engine.stop_waiting()
    waiting.thread.join(10)
    assert isinstance(waiting.found, QueueUnavailable)
    engine.add(new("one"))
    assert QueueReader(connection).status([QUEUE])[0].counts.waiting == 1


def test_a_wait_that_failed_leaves_no_answer_for_a_later_call(engine: QueueEngine, connection: Connection) -> None:
    """The first of two answers is an error: the second must not be read by whoever comes next."""
    wake = f"{{cloudq:{QUEUE}}}:wake"
    connection.client.set(wake, "not a set")
    with pytest.raises(Exception, match="WRONGTYPE"):
        engine.wait_and_claim([QueueClaim(QUEUE, 1)], 0.1, worker="w", request="n.1", lease=1000, limit=1)
    connection.client.delete(wake)
    engine.add(new("one"))
    assert Waiting(engine, "n.2").ids() == ["one"]


def test_two_who_ask_under_their_own_names_may_both_ask_again(engine: QueueEngine) -> None:
    for n in range(4):
        engine.add(new(f"j{n}"))

    def ask(request: str) -> list[str]:
        found = engine.claim([QueueClaim(QUEUE, 2)], worker="w", request=request, lease=10_000, limit=2)
        return [job.id for job in found.jobs]

    first, second = ask("n.1"), ask("nl.2")
    assert len({*first, *second}) == 4
    assert (ask("n.1"), ask("nl.2")) == (first, second)


def test_a_connection_that_the_server_closed_meanwhile_is_not_noticed(
    engine: QueueEngine, connection: Connection
) -> None:
    engine.add(new("one"))
    connection.client.client_kill_filter(skipme=True, _type="normal")
    assert engine.add(new("two"))
    assert QueueReader(connection).status([QUEUE])[0].counts.waiting == 2


def test_jobs_in_bulk_keep_their_order_and_their_answers(engine: QueueEngine, reader: QueueReader) -> None:
    """Queues take turns, and each fills several calls."""
    queues = ("email", "sms", "log")
    jobs = [new(f"{n:04}", queues[n % 3]) for n in range(900)]
    assert engine.add_many([*jobs[:450], jobs[7], *jobs[450:]]) == [True] * 450 + [False] + [True] * 450
    for at, queue in enumerate(queues):
        page = reader.page(queue, JobState.WAITING, 0, 400)
        assert [job.id for job in page] == [f"{n:04}" for n in range(at, 900, 3)]


def test_a_job_that_cannot_be_added_ends_a_bulk_there(engine: QueueEngine, reader: QueueReader) -> None:
    def jobs() -> Any:
        for n in range(250):
            yield new(f"{n}")
        raise InvalidOptions("not this one")

    with pytest.raises(InvalidOptions, match="not this one"):
        engine.add_many(jobs())
    assert reader.status([QUEUE])[0].counts.waiting == 200  # the whole chunks before it; their answers were read
    assert engine.add(new("after"))

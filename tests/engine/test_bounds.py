"""What a queue's size may not change: the commands in one call of a bulk verb, and that its steps reach the end."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable

import pytest

from cloudq_tui.engine.acts import BUDGET
from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import Finish, NewJob, Outcome, QueueClaim, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.job import JobState
from cloudq_tui.models.queue import BulkResult

QUEUE = "email"
FOREVER = Retention(completed_age=0, completed_count=0, failed_age=0)
COMMANDS_A_JOB = 8  # what the dearest verb needs for one job
COMMANDS_A_CALL = 40
Step = Callable[[QueueEngine, int, int], BulkResult]  # engine, cutoff, offset


def fill(engine: QueueEngine, jobs: int) -> None:
    message = pack_call(({"to": "someone@example.com"},), {})
    engine.add_many(NewJob(f"{number:032x}", QUEUE, "send-email", message, rank=number % 3) for number in range(jobs))


def end(engine: QueueEngine, outcome: Outcome, jobs: int, retention: Retention = FOREVER) -> None:
    for _ in range(0, jobs, 100):
        request = uuid.uuid4().hex
        claimed = engine.claim([QueueClaim(QUEUE, 100)], worker="w", request=request, lease=600_000, limit=100).jobs
        ends = [Finish(QUEUE, job.id, job.token, outcome, error="no") for job in claimed]
        assert all(engine.finish(ends, retention={QUEUE: retention})[0])


def commands(connection: Connection) -> int:
    """How many commands the server ran, those inside scripts counted."""
    stats = connection.client.info("commandstats")
    return sum(int(one["calls"]) for one in stats.values())


VERBS: dict[str, tuple[Outcome | None, Step]] = {
    "empty": (None, lambda engine, cutoff, at: engine.empty(QUEUE, cutoff=cutoff, offset=at, act="a")),
    "empty, no undo": (None, lambda engine, cutoff, at: engine.empty(QUEUE, cutoff=cutoff, offset=at)),
    "clean waiting": (
        None,
        lambda engine, cutoff, at: engine.clean(QUEUE, JobState.WAITING, before=cutoff, offset=at, act="a"),
    ),
    "clean failed": (
        Outcome.FAILED,
        lambda engine, cutoff, at: engine.clean(QUEUE, JobState.FAILED, before=cutoff, offset=at, act="a"),
    ),
    "clean completed": (
        Outcome.COMPLETED,
        lambda engine, cutoff, at: engine.clean(QUEUE, JobState.COMPLETED, before=cutoff, offset=at),
    ),
    "retry all": (
        Outcome.FAILED,
        lambda engine, cutoff, at: engine.retry_all(QUEUE, JobState.FAILED, cutoff=cutoff, offset=at, act="a"),
    ),
    "retry all that fits none": (
        Outcome.FAILED,
        lambda engine, cutoff, at: engine.retry_all(QUEUE, JobState.FAILED, cutoff=cutoff, name="x", offset=at),
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_step_costs_the_same_however_many_jobs_there_are(
    connection: Connection, engine: QueueEngine, verb: str
) -> None:
    outcome, step = VERBS[verb]
    costs = []
    for jobs in (400, 2000):
        connection.client.flushall()
        fill(engine, jobs)
        if outcome is not None:
            end(engine, outcome, jobs)
        step(engine, 0, 0)  # takes nothing; the script is known from here on
        connection.client.config_resetstat()
        result = step(engine, engine.now(), 0)
        costs.append(commands(connection))
        assert result.moved + result.skipped == BUDGET
        assert result.remaining == jobs - BUDGET
    assert costs[0] == costs[1] <= BUDGET * COMMANDS_A_JOB + COMMANDS_A_CALL


@pytest.mark.parametrize("verb", ["empty", "clean failed", "retry all"])
def test_an_undo_of_many_steps_brings_all_back_step_by_step(
    connection: Connection, engine: QueueEngine, reader: QueueReader, verb: str
) -> None:
    jobs = 12_000  # so many that a scan that begins anew at each step would no longer find the rest
    outcome, step = VERBS[verb]
    fill(engine, jobs)
    if outcome is not None:
        end(engine, outcome, jobs)
    state = {"empty": "w"}.get(verb, "f")
    before = connection.client.zrange(f"{{cloudq:{QUEUE}}}:{state}", 0, -1, withscores=True)
    cutoff = engine.now()
    while step(engine, cutoff, 0).remaining:
        pass
    assert connection.client.zcard(f"{{cloudq:{QUEUE}}}:{state}") == 0
    left = jobs
    while left:
        result = engine.undo(QUEUE, "a")
        assert (result.moved, result.skipped) == (BUDGET, 0)
        left -= BUDGET
        assert result.remaining == left
    assert connection.client.zrange(f"{{cloudq:{QUEUE}}}:{state}", 0, -1, withscores=True) == before
    assert not connection.client.keys("*:tr:a:*"), "no page is left"


def test_no_key_of_the_trash_grows_with_the_act(connection: Connection, engine: QueueEngine) -> None:
    fill(engine, 2000)
    cutoff = engine.now()
    while engine.empty(QUEUE, cutoff=cutoff, act="a").remaining:
        pass
    sizes = [connection.client.hlen(key) for key in connection.client.keys("*:tr:*")]
    assert sum(sizes) == 2000 + 2
    assert max(sizes) <= BUDGET


def test_retention_forgets_little_by_little(connection: Connection, engine: QueueEngine, reader: QueueReader) -> None:
    fill(engine, 1000)
    end(engine, Outcome.COMPLETED, 1000)
    few, kept = Retention(completed_count=10), [1000]
    for number in range(200):
        engine.add(NewJob(f"more-{number}", QUEUE, "send-email", b""))
        end(engine, Outcome.COMPLETED, 1, few)
        kept.append(reader.status([QUEUE])[0].counts.completed)
    assert kept[-1] == 10
    assert all(before - after <= 20 for before, after in itertools.pairwise(kept))


def test_a_sweep_has_one_budget_for_all_its_queues(engine: QueueEngine) -> None:
    queues = [f"q{number}" for number in range(4)]
    for queue in queues:
        engine.add_many(NewJob(f"{queue}-{number}", queue, "work", b"") for number in range(10))
    wanted = [QueueClaim(queue, 10) for queue in queues]
    assert len(engine.claim(wanted, worker="w", request="r", lease=1, limit=100).jobs) == 40
    ended = engine.now() + 2
    while engine.now() < ended:
        pass
    assert [engine.recover(queues, budget=25), engine.recover(queues, budget=25)] == [25, 15]


def test_listing_all_calls_goes_in_steps(connection: Connection, engine: QueueEngine, reader: QueueReader) -> None:
    fill(engine, 1100)
    connection.client.delete(f"{{cloudq:{QUEUE}}}:j:{6:032x}")  # a record that is gone does not end the list
    connection.client.config_resetstat()
    assert len(reader.calls(QUEUE, JobState.WAITING)) == 1099
    assert connection.client.info("commandstats")["cmdstat_evalsha"]["calls"] >= 4
    assert len(reader.calls(QUEUE, JobState.WAITING, 300)) == 299


def test_the_last_page_is_the_last_page(connection: Connection, engine: QueueEngine, reader: QueueReader) -> None:
    fill(engine, 500)
    waiting = [member.decode() for member in connection.client.zrange(f"{{cloudq:{QUEUE}}}:w", 0, -1)]
    page = [job.id for job in reader.page(QUEUE, JobState.WAITING, 480, 999)]
    assert page == waiting[480:]
    engine.pause(QUEUE, by="ops")
    assert [job.id for job in reader.page(QUEUE, JobState.PAUSED, 490, 499)] == waiting[490:]


def test_a_queue_is_obliterated_in_pages_and_nothing_is_freed_at_once(
    connection: Connection, engine: QueueEngine
) -> None:
    fill(engine, 1500)
    engine.add(NewJob("other", "sms", "send-sms", b""))
    connection.client.config_resetstat()
    engine.obliterate(QUEUE)
    stats = connection.client.info("commandstats")
    assert "cmdstat_del" not in stats
    assert stats["cmdstat_unlink"]["calls"] <= 4
    assert not connection.client.keys(f"{{cloudq:{QUEUE}}}:*")
    assert connection.client.exists("{cloudq:sms}:j:other")

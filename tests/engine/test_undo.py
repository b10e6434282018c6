"""What a person took away comes back: same state, same order, same score; what changed meanwhile is left alone."""

from __future__ import annotations

import json

from cloudq_tui.engine.codec import encode, pack_call
from cloudq_tui.engine.records import NewJob, Outcome
from cloudq_tui.models.job import JobState

from .conftest import QUEUE, Bench

ERROR = json.dumps({"number": 1, "outcome": "error", "error": "ValueError: no"}).encode()


def contents(bench: Bench) -> dict[str, object]:
    """Every key of the queue that a job lives in, with its value and without a time to live."""
    client, found = bench.connection.client, {}
    for key in client.keys("{cloudq:email}:*"):
        suffix = key.decode().split(":")[2]
        if suffix in "wdcf":
            found[key] = client.zrange(key, 0, -1, withscores=True)
        elif suffix in "jpxelko":
            found[key] = client.dump(key)
            assert client.ttl(key) == -1
    return found


def mixed(bench: Bench) -> None:
    for rank in (5, 1, 5):
        bench.add(rank=rank)
    bench.finish(bench.claim()[0], Outcome.FAILED, error="no", detail=ERROR)
    bench.finish(bench.claim()[0], result=encode([1]))
    bench.add(rank=3)
    bench.add(delay=60_000)


def test_empty_and_undo(bench: Bench) -> None:
    mixed(bench)
    before = contents(bench)
    assert bench.engine.empty(QUEUE, cutoff=bench.now(), act="a1").moved == 3
    assert bench.counts() == {"failed": 1, "completed": 1}
    assert bench.engine.undo(QUEUE, "a1", budget=2).remaining == 1
    assert bench.engine.undo(QUEUE, "a1", budget=2).remaining == 0
    assert contents(bench) == before
    assert bench.engine.undo(QUEUE, "a1").moved == 0


def test_clean_remove_and_undo(bench: Bench) -> None:
    mixed(bench)
    before = contents(bench)
    bench.engine.clean(QUEUE, JobState.COMPLETED, before=bench.now(), act="a1")
    bench.engine.remove(QUEUE, bench.ids("failed")[0], act="a2")
    bench.engine.remove(QUEUE, bench.ids("delayed")[0], act="a3")
    assert bench.counts() == {"waiting": 2}
    for act in ("a3", "a1", "a2"):
        assert bench.engine.undo(QUEUE, act).moved == 1
    assert contents(bench) == before


def test_what_is_not_undone_goes_by_itself(bench: Bench) -> None:
    mixed(bench)
    bench.engine.empty(QUEUE, cutoff=bench.now(), act="a1")
    client = bench.connection.client
    left = [key for key in client.keys("{cloudq:email}:[jp]:*") if client.ttl(key) > 0]
    assert len(left) == 6
    assert 0 < client.ttl("{cloudq:email}:tr:a1") <= 600


def test_an_id_added_again_meanwhile_is_skipped(bench: Bench) -> None:
    job_id = bench.add()
    bench.engine.empty(QUEUE, cutoff=bench.now(), act="a1")
    assert bench.engine.add(NewJob(id=job_id, queue=QUEUE, name="other", message=pack_call((), {})))
    result = bench.engine.undo(QUEUE, "a1")
    assert (result.moved, result.skipped) == (0, 1)
    assert bench.reader.job(QUEUE, job_id).name == "other"
    assert bench.connection.client.ttl(f"{{cloudq:email}}:j:{job_id}") == -1


def test_undo_of_retry_all_takes_back_only_what_nobody_claimed(bench: Bench) -> None:
    for _ in range(3):
        bench.add()
    for job in bench.claim(3):
        bench.finish(job, Outcome.FAILED, error="no", detail=ERROR)
        bench.pass_time(10)
    before = {job_id: bench.reader.job(QUEUE, job_id) for job_id in bench.ids("failed")}
    bench.engine.retry_all(QUEUE, JobState.FAILED, cutoff=bench.now(), act="a1")
    claimed = bench.claim()[0]
    result = bench.engine.undo(QUEUE, "a1")
    assert (result.moved, result.skipped) == (2, 1)
    assert bench.counts() == {"active": 1, "failed": 2}
    for job_id in bench.ids("failed"):
        assert bench.reader.job(QUEUE, job_id) == before[job_id]
    bench.finish(claimed)


def test_an_add_that_is_refused_leaves_the_trash_as_it_is(bench: Bench) -> None:
    job_id = bench.add(id="order-1", unique=True)
    bench.engine.remove(QUEUE, job_id, act="a")
    again = NewJob(job_id, QUEUE, "send-email", pack_call((), {}), unique=True)
    assert not bench.engine.add(again), "its id was used"
    assert bench.engine.undo(QUEUE, "a").moved == 1
    assert bench.ids("waiting") == [job_id]

"""What the doctor finds in a Redis spoiled by hand, that it mends it, and that it leaves a sound one alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.examination import Examination, ServerFacts
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import CatalogEntry, Outcome, Presence, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import ReadOnly
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobState
from cloudq_tui.models.worker import WorkerInfo
from cloudq_tui.services.doctor import Doctor, Finding, Level, Report, server_findings, worker_findings
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings

from .conftest import QUEUE, Bench

BASE = "{cloudq:email}"
SOUND = ServerFacts("redis", "7.2.5", True, "everysec", "", (), 0, "noeviction", 1_000_000)


def examine(bench: Bench, *, repair: bool = False, queues: tuple[str, ...] = (QUEUE,), step: int = 250) -> Report:
    examination = Examination(bench.connection, limiter=bench.engine.limiter, clock="clock_fixed", step=step)
    doctor = Doctor(bench.engine, bench.reader, Settings(), examination=examination, settle=0)
    return doctor.examine(lambda: queues, repair=repair)


def of_queues(report: Report) -> list[Finding]:
    """The test server keeps nothing on disk, which is found too."""
    return [one for one in report.findings if one.queue]


def failed(bench: Bench) -> str:
    bench.add()
    (job,) = bench.claim()
    assert bench.finish(job, Outcome.FAILED, error="no", detail=b"{}")
    return job.id


def completed(bench: Bench) -> str:
    bench.add()
    (job,) = bench.claim()
    assert bench.finish(job)
    return job.id


def active(bench: Bench) -> str:
    bench.add()
    return bench.claim()[0].id


def waiting(bench: Bench) -> str:
    return bench.add()


def delayed(bench: Bench) -> str:
    return bench.add(delay=60_000)


KEYS = {"waiting": "w", "delayed": "d", "active": "a", "completed": "c", "failed": "f"}
MAKERS: dict[str, Callable[[Bench], str]] = {
    "failed": failed,
    "completed": completed,
    "active": active,
    "delayed": delayed,
    "waiting": waiting,
}


def mended(bench: Bench, what: str, done: str) -> None:
    """One finding; looking changes nothing, repairing does, and then there is none."""
    client = bench.connection.client
    before = {key: client.dump(key) for key in client.keys("*")}
    (found,) = of_queues(examine(bench))
    assert what in found.text
    assert (found.queue, found.repaired) == (QUEUE, "")
    assert {key: client.dump(key) for key in client.keys("*")} == before
    (found,) = of_queues(examine(bench, repair=True))
    assert what in found.text
    assert found.repaired == done
    assert of_queues(examine(bench)) == []


@pytest.mark.parametrize("state", KEYS)
def test_an_id_without_a_record_is_removed(bench: Bench, state: str) -> None:
    job_id = MAKERS[state](bench)
    bench.connection.client.delete(f"{BASE}:j:{job_id}")
    mended(bench, f"1 id in a state without a record ({job_id})", "removed")
    assert bench.counts() == {}
    assert bench.connection.client.keys(f"{BASE}:?:{job_id}") == []


def test_a_record_that_is_no_hash_or_has_no_name_is_none(bench: Bench) -> None:
    first, second, third = bench.add(), bench.add(), bench.add()
    client = bench.connection.client
    client.set(f"{BASE}:j:{first}", "nonsense")
    client.hdel(f"{BASE}:j:{second}", "n")
    client.set(f"{BASE}:j:stray", "nonsense")
    report = examine(bench, repair=True)
    assert [(one.text[:5], one.repaired) for one in of_queues(report)] == [
        ("2 ids", "removed"),
        ("1 id ", "dropped, for want of a name or payload"),
    ]
    assert of_queues(examine(bench)) == []
    assert [job.id for job in bench.claim(9)] == [third]


@pytest.mark.parametrize(
    ("states", "winner"),
    [
        (("active", "waiting"), "active"),
        (("active", "completed"), "active"),
        (("waiting", "delayed"), "waiting"),
        (("delayed", "failed"), "delayed"),
        (("waiting", "completed"), "waiting"),
        (("failed", "completed"), "failed"),
        (("completed", "waiting"), "waiting"),
        (("failed", "completed", "delayed", "waiting"), "waiting"),
    ],
)
def test_an_id_in_two_states_stays_in_one(bench: Bench, states: tuple[str, ...], winner: str) -> None:
    job_id = MAKERS[states[0]](bench)
    client = bench.connection.client
    for other in states[1:]:
        score = 5 * 2**42 + 99 if other == "waiting" else bench.now()
        client.zadd(f"{BASE}:{KEYS[other]}", {job_id: score})
    if winner == "waiting":
        client.hset(f"{BASE}:j:{job_id}", "s", int(client.zscore(f"{BASE}:w", job_id)))
    client.zadd(f"{BASE}:wake", {"0": 0})
    mended(bench, "in more than one state", f"kept in {winner} only")
    assert bench.counts() == {winner: 1}
    if winner in {"waiting", "delayed"}:
        bench.pass_time(60_000)
        (job,) = bench.claim()
        assert bench.finish(job)
        assert bench.counts() == {"completed": 1}


def test_an_active_job_whose_lease_ran_out_gives_way(bench: Bench) -> None:
    (job,) = [bench.add()] and bench.claim(lease=1000)
    bench.connection.client.zadd(f"{BASE}:f", {job.id: bench.now()})
    bench.pass_time(1001)
    mended(bench, "in more than one state", "kept in failed only")
    assert bench.counts() == {"failed": 1}
    assert not bench.finish(job), "its token must be worth nothing now"


def test_a_record_in_no_state_waits_again_at_the_end_of_its_priority(bench: Bench) -> None:
    lost, other = bench.add(rank=3), bench.add(rank=3)
    late = bench.add(delay=1000)
    client = bench.connection.client
    client.zrem(f"{BASE}:w", lost)
    client.zrem(f"{BASE}:d", late)
    mended(bench, "2 ids with a record but in no state", "waiting again")
    assert bench.ids("waiting") == [other, lost, late]
    assert [job.message is not None for job in bench.claim(9)] == [True] * 3


def test_a_record_of_a_lost_active_job_waits_again_and_its_token_is_void(bench: Bench) -> None:
    bench.add()
    (job,) = bench.claim()
    bench.connection.client.zrem(f"{BASE}:a", job.id)
    mended(bench, "with a record but in no state", "waiting again")
    assert not bench.finish(job)
    assert bench.counts() == {"waiting": 1}


def test_a_record_in_no_state_without_a_payload_is_dropped(bench: Bench) -> None:
    job_id = bench.add()
    bench.connection.client.zrem(f"{BASE}:w", job_id)
    bench.connection.client.delete(f"{BASE}:p:{job_id}")
    mended(bench, "with a record but in no state", "dropped, for want of a name or payload")
    assert bench.connection.client.keys(f"{BASE}:?:{job_id}") == []


def test_a_job_that_had_ended_is_not_run_again(bench: Bench) -> None:
    done = completed(bench)
    bench.connection.client.zrem(f"{BASE}:c", done)
    mended(bench, "with a record but in no state", "back in completed")
    bad = failed(bench)
    bench.connection.client.zrem(f"{BASE}:f", bad)
    mended(bench, "with a record but in no state", "back in failed")
    assert (bench.ids("completed"), bench.ids("failed")) == ([done], [bad])


def test_a_cancelled_job_in_no_state_fails_as_cancelled(bench: Bench) -> None:
    job_id = active(bench)
    bench.engine.cancel(QUEUE, job_id, "ops1")
    bench.connection.client.zrem(f"{BASE}:a", job_id)
    mended(bench, "with a record but in no state", "back in failed")
    assert bench.reader.job(QUEUE, job_id).error == "cancelled by ops1"


def test_an_active_job_without_a_token_is_left_to_the_sweep(bench: Bench) -> None:
    job_id = active(bench)
    bench.connection.client.hdel(f"{BASE}:j:{job_id}", "tk")
    mended(bench, "active, but leased to nobody", "given up; a worker's next sweep lets it wait again")
    assert bench.engine.recover([QUEUE]) == 1
    assert bench.ids("waiting") == [job_id]


def test_leases_nobody_sweeps_are_swept(bench: Bench) -> None:
    lost = [active(bench), active(bench)]
    bench.pass_time(15_000 + 119_000)
    assert of_queues(examine(bench)) == []
    bench.pass_time(2_000)
    mended(bench, "2 ids active on a lease that ran out long ago", "recovered: waiting again, or failed as stalled")
    assert bench.ids("waiting") == lost


def test_a_waiting_job_with_a_token_is_freed(bench: Bench) -> None:
    bench.add()
    (job,) = bench.claim()
    client = bench.connection.client
    client.zrem(f"{BASE}:a", job.id)
    client.zadd(f"{BASE}:w", {job.id: int(client.hget(f"{BASE}:j:{job.id}", "s"))})
    client.zadd(f"{BASE}:wake", {"0": 0})
    mended(bench, "not active, but a worker could still end it", "freed of its token")
    assert not bench.finish(job)


def test_a_record_that_names_another_place_is_corrected(bench: Bench) -> None:
    first, second = bench.add(rank=-1000), bench.add(rank=1000)
    client = bench.connection.client
    places = client.zrange(f"{BASE}:w", 0, -1, withscores=True)
    client.hset(f"{BASE}:j:{first}", "s", 17)
    client.hdel(f"{BASE}:j:{second}", "s")
    mended(bench, "2 ids waiting in another place than the record says", "written into the record")
    assert client.zrange(f"{BASE}:w", 0, -1, withscores=True) == places
    for job in bench.claim(2):
        assert bench.finish(job, Outcome.RELEASE)
    assert client.zrange(f"{BASE}:w", 0, -1, withscores=True) == places


def test_a_standing_job_is_taken_out_of_the_trash(bench: Bench) -> None:
    job_id = bench.add()
    bench.engine.remove(QUEUE, job_id, act="a1")
    bench.connection.client.zadd(f"{BASE}:w", {job_id: int(bench.connection.client.hget(f"{BASE}:j:{job_id}", "s"))})
    mended(bench, "in the trash too", "taken out of the trash")
    assert all(bench.connection.client.ttl(f"{BASE}:{family}:{job_id}") == -1 for family in "jp")
    assert bench.engine.undo(QUEUE, "a1").skipped == 1
    assert bench.counts() == {"waiting": 1}


# --- wake markers ----------------------------------------------------------------------------------------------


def test_a_missing_wake_marker_is_set(bench: Bench) -> None:
    bench.add()
    bench.connection.client.delete(f"{BASE}:wake")
    mended(bench, "no wake marker tells a worker", "set")
    assert bench.engine.wait([QUEUE], 0.01)


def test_a_marker_is_not_missed_where_nobody_could_start(bench: Bench) -> None:
    for _ in range(3):
        bench.add()
    client = bench.connection.client
    bench.engine.pause(QUEUE, by="ops1")
    client.delete(f"{BASE}:wake")
    assert of_queues(examine(bench)) == []
    bench.engine.resume(QUEUE)
    bench.engine.publish([CatalogEntry(QUEUE, "send-email", limiter=(1, 1000))])
    limited = QueueClaim(QUEUE, 3, limit_max=1, limit_duration=1000)
    (job,) = bench.claim(3, limited)
    client.delete(f"{BASE}:wake")
    assert of_queues(examine(bench)) == [], "its end will wake the next"
    bench.finish(job)
    client.delete(f"{BASE}:wake")
    assert of_queues(examine(bench)) == [], "the limiter holds the rest back"
    bench.pass_time(1001)
    assert len(of_queues(examine(bench))) == 1


def test_the_limiter_over_all_queues_explains_a_marker_too(connection: Connection) -> None:
    bench = Bench(connection)
    bench.engine.limiter = (1, 3_600_000)
    bench.add()
    bench.add()
    connection.client.set("{clock}:now", bench.engine.now())  # that limiter is asked by the real clock
    assert bench.finish(bench.claim(2)[0])
    connection.client.delete(f"{BASE}:wake")
    assert of_queues(examine(bench)) == []


# --- queues as a whole -----------------------------------------------------------------------------------------


def test_a_queue_nobody_listed_is_found_by_its_records(bench: Bench) -> None:
    job_id = bench.add("shop:orders")
    bench.connection.client.srem("{cloudq}:queues", "shop:orders")
    bench.connection.client.delete("{cloudq:shop:orders}:j:" + job_id)
    bench.add("shop:orders")
    report = examine(bench, repair=True)
    assert [(one.queue, one.repaired) for one in of_queues(report)] == [
        ("shop:orders", "listed"),
        ("shop:orders", "removed"),
    ]
    assert bench.reader.known_queues() == ["shop:orders"]
    assert of_queues(examine(bench, queues=("shop:orders",))) == []


def test_a_spoiled_key_is_named_and_the_other_queues_are_still_examined(bench: Bench) -> None:
    bench.add("sms")
    bench.connection.client.set("{cloudq:sms}:d", "nonsense")
    job_id = bench.add()
    bench.connection.client.delete(f"{BASE}:j:{job_id}")
    report = examine(bench, repair=True, queues=("sms", QUEUE))
    assert [(one.queue, one.repaired) for one in of_queues(report)] == [(QUEUE, "removed"), ("sms", "")]
    assert "key {cloudq:sms}:d holds a string" in of_queues(report)[1].text


@pytest.mark.parametrize("key", ["queues", "workers", "catalog", "audit"])
def test_a_spoiled_key_of_all_queues_is_named(bench: Bench, key: str) -> None:
    bench.add()
    bench.connection.client.set(f"{{cloudq}}:{key}", "nonsense")
    said = [one.text for one in examine(bench).remaining if not one.queue]
    assert f"key {{cloudq}}:{key} holds a string; no verb works until it is gone" in said


def test_names_and_ids_of_any_form(bench: Bench) -> None:
    for job_id in ("a}:j:b", "x:y", "naïve", "[a-z]*", "{email}"):
        bench.add(id=job_id)
        bench.connection.client.zrem(f"{BASE}:w", job_id)
    (found,) = of_queues(examine(bench, repair=True))
    assert found.text.startswith("5 ids")
    assert sorted(bench.ids("waiting")) == sorted(("a}:j:b", "x:y", "naïve", "[a-z]*", "{email}"))


# --- soundness and scale ---------------------------------------------------------------------------------------


def everything_in_use(bench: Bench) -> None:
    for state in ("completed", "failed"):
        MAKERS[state](bench)
    for rank in (-1000, 5, 1000):
        bench.add(rank=rank)
    undone = completed(bench), bench.add(), bench.add(delay=9000)
    for number, job_id in enumerate(undone):
        if number != 1:
            bench.engine.remove(QUEUE, job_id, act=f"a{number}")
            bench.engine.undo(QUEUE, f"a{number}")
    bench.engine.remove(QUEUE, failed(bench), act="kept in the trash")
    bench.engine.retry(QUEUE, failed(bench))
    bench.engine.cancel(QUEUE, delayed(bench), "ops1")
    bench.engine.promote(QUEUE, delayed(bench))
    delayed(bench)
    for outcome, delay in ((Outcome.RELEASE, 0), (Outcome.RETRY, 0), (Outcome.RETRY, 9000), (Outcome.DEFER, 9000)):
        bench.add()
        (job,) = bench.claim()
        assert bench.finish(job, outcome, error="no", detail=b"{}", delay=delay)
    bench.claim(lease=1)
    bench.pass_time(10)
    assert bench.engine.recover([QUEUE]) == 1
    bench.engine.cancel(QUEUE, active(bench), "ops1")
    active(bench)
    bench.add("sms")
    bench.connection.client.set("{cloudq:@huey}:kv:r:x", b"{}")


def test_a_healthy_queue_with_every_state_in_use_is_left_alone(bench: Bench) -> None:
    everything_in_use(bench)
    assert set(bench.counts()) == {"waiting", "active", "completed", "failed", "delayed"}
    for queues in ((QUEUE, "sms"), (QUEUE, "sms", "never-used")):
        for repair in (False, True):
            assert of_queues(examine(bench, queues=queues, repair=repair)) == []
    bench.engine.pause(QUEUE, by="ops1")
    assert of_queues(examine(bench, queues=(QUEUE, "sms"))) == []


def test_many_jobs_are_paged_through(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudq_tui.engine import examination as module

    ids = [bench.add(delay=60_000 if number % 4 == 0 else 0) for number in range(2000)]
    client = bench.connection.client
    for job_id in ids[::2]:
        client.delete(f"{BASE}:j:{job_id}")
    client.zrem(f"{BASE}:w", *ids[1::4])
    calls: list[int] = []
    real = module.evaluate

    def counted(redis: Any, script: Any, keys: list[str], args: list[Any]) -> Any:
        calls.append(len(args) - 2)
        return real(redis, script, keys, args)

    monkeypatch.setattr(module, "evaluate", counted)
    report = examine(bench, repair=True)
    assert [(one.text[:9], one.repaired) for one in of_queues(report)] == [
        ("1,000 ids", "removed"),
        ("500 ids w", "waiting again"),
    ]
    assert report.records == 1000
    assert max(calls) <= 250
    assert len(calls) >= 1500 // 250 + 1000 // 250
    assert bench.counts() == {"waiting": 1000}
    assert of_queues(examine(bench, step=7)) == []


def test_a_queue_at_work_is_never_found_wrong(engine: QueueEngine, reader: QueueReader) -> None:
    """Jobs rush through all states while the doctor looks, and mends, again and again."""
    from cloudq_tui.engine.records import Finish, NewJob

    stop, faults = threading.Event(), []

    def work(name: str) -> None:
        try:
            for turn in range(100_000):
                if stop.is_set():
                    return
                engine.add(NewJob(f"{name}-{turn}", QUEUE, "send-email", b"{}", delay=turn % 3))
                jobs = engine.claim(
                    [QueueClaim(QUEUE, 2)], worker=name, request=f"{name}.{turn}", lease=9000, limit=2
                ).jobs
                outcomes = [list(Outcome)[(turn + at) % 5] for at in range(len(jobs))]
                ended = [
                    Finish(QUEUE, job.id, job.token, how, error="no", detail=b"{}")
                    for job, how in zip(jobs, outcomes, strict=True)
                ]
                faults.extend(held for held in engine.finish(ended)[0] if not held)
        except BaseException as error:
            faults.append(error)
            raise

    threads = [threading.Thread(target=work, args=(name,)) for name in ("w1", "w2")]
    for thread in threads:
        thread.start()
    try:
        for turn in range(10):
            doctor = Doctor(engine, reader, Settings(), settle=0.2)
            assert of_queues(doctor.examine(lambda: [QUEUE], repair=bool(turn % 2))) == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []


def test_repair_goes_on_in_a_full_redis(bench: Bench) -> None:
    client = bench.connection.client
    kept, orphan, late = bench.add(), bench.add(), bench.add()
    client.zadd(f"{BASE}:f", {kept: 1})
    client.delete(f"{BASE}:j:{orphan}")
    client.zrem(f"{BASE}:w", late)
    client.config_set("maxmemory", 1)
    try:
        report = examine(bench, repair=True)
    finally:
        client.config_set("maxmemory", 0)
    assert sorted(one.repaired for one in of_queues(report)) == ["kept in waiting only", "removed", "waiting again"]
    assert of_queues(examine(bench)) == []


# --- server and workers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "embedded", "level", "said"),
    [
        ({}, False, None, ""),
        ({"version": "6.2.0"}, False, None, ""),
        ({"version": "6.0.16"}, False, Level.ERROR, "redis 6.0.16 is too old"),
        ({"family": "valkey", "version": "9.0.1"}, False, None, ""),
        ({"aof": False}, False, Level.ERROR, "neither AOF nor RDB"),
        ({"aof": False, "save": "3600 1"}, False, Level.NOTE, "only RDB snapshots"),
        ({"aof": False, "save": None}, False, Level.NOTE, "does not tell"),
        ({"appendfsync": "no"}, False, Level.NOTE, "appendfsync is no"),
        ({"appendfsync": "always"}, True, None, ""),
        ({}, True, Level.ERROR, "embedded Redis runs with appendfsync everysec"),
        ({"aof": False}, True, Level.ERROR, "embedded Redis runs with no AOF"),
        ({"failing": ("RDB snapshot",)}, False, Level.ERROR, "the last RDB snapshot failed"),
        ({"eviction": "allkeys-lru"}, False, Level.ERROR, "maxmemory-policy is allkeys-lru"),
        ({"max_memory": 1_000_001}, False, None, ""),
        ({"max_memory": 1_000_000}, False, Level.ERROR, "it uses 1.0 MB of a maxmemory of 1.0 MB and refuses jobs"),
    ],
)
def test_what_a_server_must_be(facts: dict[str, Any], embedded: bool, level: Level | None, said: str) -> None:
    found = list(server_findings(replace(SOUND, **facts), embedded=embedded))
    assert [one.level for one in found] == ([] if level is None else [level])
    assert all(said in one.text for one in found)


def test_the_facts_are_the_servers(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connection.client
    facts = Examination(connection).server()
    assert facts.version.count(".") == 2
    assert facts.used_memory > 100_000
    seen = {"family": facts.family, "version": facts.version, "used_memory": facts.used_memory}
    assert facts == replace(SOUND, aof=False, **seen)
    client.config_set("maxmemory-policy", "volatile-ttl")
    client.config_set("save", "900 1")
    try:
        facts = Examination(connection).server()
        assert (facts.eviction, facts.save) == ("volatile-ttl", "900 1")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("save", "")

    def refused(*_: object) -> None:
        raise ResponseError("unknown command 'CONFIG'")

    monkeypatch.setattr(client, "config_get", refused)
    assert Examination(connection).server().save is None


def test_workers_of_another_version_or_with_another_clock(bench: Bench) -> None:
    def worker(**fields: Any) -> WorkerInfo:
        return WorkerInfo("w1", "h1", 7, (QUEUE,), version="0.1.0", **fields)

    assert not list(worker_findings([worker(), worker(clock_ahead=-4000)], "0.1.0"))
    assert not list(worker_findings([worker()], ""))
    (found,) = worker_findings([worker()], "0.2.0")
    assert found.text == "worker h1:7 runs version 0.1.0, this is 0.2.0"
    for ahead, said in ((90_000, "90 s ahead of"), (-3_600_000, "3,600 s behind")):
        (found,) = worker_findings([worker(clock_ahead=ahead)], "0.1.0")
        assert f"the clock of worker h1:7 is {said} Redis'" in found.text


def test_a_beat_tells_the_workers_clock_and_an_old_one_can_still_be_read(
    engine: QueueEngine, reader: QueueReader
) -> None:
    for ahead in (60_000, -60_000):
        engine.beat(Presence("w1", "h1", 7, (QUEUE,), clock=engine.now() + ahead), ttl=15_000)
        (worker,) = reader.workers()
        assert worker.clock_ahead == pytest.approx(ahead, abs=2000)
    engine.beat(Presence("w1", "h1", 7, (QUEUE,)), ttl=15_000)
    assert reader.workers()[0].clock_ahead is None
    key = "{cloudq}:worker:w1"
    old = json.loads(engine.connection.client.get(key))
    old.pop("clock")
    old.pop("at")
    engine.connection.client.set(key, json.dumps(old), px=15_000)
    assert reader.workers()[0].clock_ahead is None


# --- the door --------------------------------------------------------------------------------------------------


@pytest.fixture
def operations(engine: QueueEngine, reader: QueueReader) -> Iterator[QueueOperations]:
    return QueueOperations(engine, reader, Settings(), actor=Actor("ops1", "cli"))


def test_a_repair_is_a_write_and_leaves_a_trace(
    engine: QueueEngine, reader: QueueReader, operations: QueueOperations
) -> None:
    bench = Bench(engine.connection)
    for _ in range(2):
        engine.connection.client.delete(f"{BASE}:j:{bench.add()}")
    careful = QueueOperations(engine, reader, Settings(), actor=Actor("ops1", "cli"), read_only=True)
    with pytest.raises(ReadOnly):
        careful.examine(repair=True)
    assert [one.queue for one in careful.examine().remaining if one.queue] == [QUEUE]
    assert operations.audit() == []
    assert not [one for one in operations.examine(repair=True).remaining if one.queue]
    (entry,) = operations.audit()
    assert (entry.action, entry.queue, entry.count, entry.detail) == ("repair", QUEUE, 2, "2 orphan")
    assert [(event.kind, event.detail) for event in operations.events(QUEUE, 2)] == [("repaired", "orphan")] * 2
    operations.examine(repair=True)
    assert len(operations.audit()) == 1


def test_an_unreachable_redis_is_a_finding(tmp_path: Path) -> None:
    connection = Connection.from_url(f"unix://{tmp_path}/none.sock")
    gone = QueueOperations(QueueEngine(connection), QueueReader(connection), Settings(), actor=Actor("ops1", "cli"))
    (found,) = gone.examine().remaining
    assert (found.level, found.queue) == (Level.ERROR, "")
    assert "cannot be used" in found.text


def test_paused_backlogs_are_no_finding(bench: Bench) -> None:
    bench.add()
    bench.engine.pause(QUEUE, by="ops1", duration=1000)
    assert bench.ids(JobState.PAUSED) != []
    assert of_queues(examine(bench)) == []

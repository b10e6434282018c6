"""The engine on a real Redis Cluster of three masters: everything that spans slots, and what a fault leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.bootstrap import build
from cloudq_tui.engine import outbox
from cloudq_tui.engine.cluster import ClusterEngine, fair_shares
from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.cluster_queries import ClusterExamination, ClusterReader
from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import connect
from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.records import (
    ChordMember,
    ClaimedJob,
    Finish,
    KeyWrite,
    Lease,
    NewJob,
    Outcome,
    Presence,
    QueueClaim,
    Renewal,
)
from cloudq_tui.errors import AmbiguousId, QueueUnavailable, SettingsError
from cloudq_tui.models.job import JobState
from cloudq_tui.settings import RedisSettings, Settings
from cloudq_tui.worker.huey import CloudqHuey

from .cluster_nodes import ClusterNodes

pytestmark = pytest.mark.xdist_group("cluster")

QUEUES = ("email", "sms", "reports")  # each on another node: see test_the_queues_lie_on_three_nodes
SPACE = "app"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def nodes(redis_binary: str) -> Iterator[ClusterNodes]:
    with tempfile.TemporaryDirectory(prefix="cq-cluster-") as folder:
        made = ClusterNodes(Path(folder), redis_binary)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def connection(nodes: ClusterNodes) -> Iterator[ClusterConnection]:
    nodes.empty()
    made = ClusterConnection.from_url(nodes.url)
    yield made
    made.close()


@pytest.fixture
def engine(connection: ClusterConnection) -> ClusterEngine:
    return ClusterEngine(connection)


@pytest.fixture
def reader(connection: ClusterConnection) -> ClusterReader:
    return ClusterReader(connection)


@pytest.fixture
def store(connection: ClusterConnection) -> KeyValueStore:
    return KeyValueStore(connection, prefix="cloudq", space=SPACE)


def new(job_id: str, queue: str = "email", **fields: Any) -> NewJob:
    return NewJob(id=job_id, queue=queue, name="work", message=pack_call((job_id,), {}), **fields)


def claim(
    engine: ClusterEngine, limit: int = 10, *, request: str = "", lease: int = 15_000, queues: tuple[str, ...] = QUEUES
) -> list[ClaimedJob]:
    wanted = [QueueClaim(queue, limit) for queue in queues]
    request = request or uuid.uuid4().hex
    return list(engine.claim(wanted, worker="w1", request=request, lease=lease, limit=limit, space=SPACE).jobs)


def done(job: ClaimedJob, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> Finish:
    return Finish(job.queue, job.id, job.token, outcome, **fields)


def with_consequences(job: ClaimedJob) -> Finish:
    """A finish that writes a key, adds jobs to its own and to another queue, and completes a chord."""
    member = ChordMember("c1", 0, 1, b"7", new("callback", "reports"))
    return done(
        job,
        writes=(KeyWrite("result", b"\x00\xff", 60_000), KeyWrite("old", None)),
        follow_ups=(new("next", "sms"), new("beside", job.queue)),
        chords=(member,),
    )


def outboxes(connection: ClusterConnection) -> int:
    return sum(connection.client.llen(f"{{cloudq:{queue}}}:out") for queue in QUEUES)


def counts(reader: ClusterReader) -> dict[str, dict[str, int]]:
    rows = {one.name: one.counts for one in reader.status(QUEUES)}
    return {
        name: {state: getattr(row, state) for state in row.__dataclass_fields__ if getattr(row, state)}
        for name, row in rows.items()
    }


def test_the_queues_lie_on_three_nodes(connection: ClusterConnection) -> None:
    places = [connection.client.get_node_from_key(f"{{cloudq:{queue}}}:w").name for queue in QUEUES]
    assert len(set(places)) == 3
    assert connection.client.keyslot("{cloudq:@app}:kv:x") != connection.client.keyslot("{cloudq:email}:w")


# --- the life of a job ---


def test_jobs_of_many_slots_are_added_claimed_renewed_and_finished(
    engine: ClusterEngine, reader: ClusterReader
) -> None:
    jobs = [new(f"{queue}-{n}", queue) for n in range(3) for queue in QUEUES]
    assert engine.add_many([*jobs, jobs[0]]) == [True] * 9 + [False]
    assert reader.known_queues() == sorted(QUEUES)
    held = claim(engine, 20)
    assert {job.id for job in held} == {job.id for job in jobs}
    leases = [Lease(job.queue, job.id, job.token) for job in held]
    assert engine.renew([*leases, Lease("sms", "nobody", "x")], lease=1000) == [Renewal.HELD] * 9 + [Renewal.LOST]
    accepted, more = engine.finish([done(job) for job in held])
    assert (accepted, more.jobs) == ([True] * 9, ())
    assert engine.finish([done(held[0])])[0] == [False], "a lost lease changes nothing"
    assert counts(reader) == {queue: {"completed": 3} for queue in QUEUES}


def test_a_claim_is_fair_and_says_when_the_next_job_is_due(engine: ClusterEngine) -> None:
    engine.add_many([new(f"e{n}") for n in range(20)] + [new(f"s{n}", "sms") for n in range(2)])
    engine.add(new("late", "reports", delay=60_000))
    wanted = [QueueClaim(queue, 10) for queue in QUEUES]
    result = engine.claim(wanted, worker="w1", request="r1", lease=1000, limit=10)
    assert Counter(job.queue for job in result.jobs) == {"email": 8, "sms": 2}
    assert [job.id for job in result.jobs if job.queue == "email"] == [f"e{n}" for n in range(8)]
    assert result.next_due is not None
    assert 50_000 < result.next_due <= 60_000


@pytest.mark.parametrize(
    ("ready", "limit", "shares"),
    [
        ((9, 9, 9), 6, [2, 2, 2]),
        ((9, 1, 0), 6, [5, 1, 0]),
        ((5, 5, 5), 2, [1, 1, 0]),
        ((0, 0, 3), 9, [0, 0, 3]),
        ((), 9, []),
        ((4, 4), 0, [0, 0]),
    ],
)
def test_fair_shares(ready: tuple[int, ...], limit: int, shares: list[int]) -> None:
    assert fair_shares(ready, limit) == shares


def test_pause_concurrency_and_limiter_hold_in_every_slot(engine: ClusterEngine) -> None:
    engine.add_many([new(f"{queue}{n}", queue) for queue in QUEUES for n in range(5)])
    engine.pause("email", by="ops1")
    wanted = [QueueClaim("email", 5), QueueClaim("sms", 5, concurrency=2), QueueClaim(QUEUES[2], 5, 0, 3, 60_000)]
    result = engine.claim(wanted, worker="w1", request="r1", lease=1000, limit=15)
    assert Counter(job.queue for job in result.jobs) == {"sms": 2, "reports": 3}


def test_the_same_request_gives_the_same_jobs_when_a_node_failed_to_answer(
    engine: ClusterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add_many([new(f"{queue}{n}", queue) for queue in QUEUES for n in range(2)])
    run, broken = engine._slots.run, QueueUnavailable("the answer was lost")

    def lose_claims(calls: Any, **options: Any) -> Any:
        answers = run(calls, **options)
        if calls and len(calls[0].command) > 6:  # a claim, not the look before it
            raise broken
        return answers

    monkeypatch.setattr(engine._slots, "run", lose_claims)
    with pytest.raises(QueueUnavailable):
        claim(engine, 6, request="again")
    monkeypatch.undo()
    engine.add(new("newer"))
    assert len({job.id for job in claim(engine, 6, request="again")} - {"newer"}) == 6


def test_a_wait_ends_soon_after_a_job_came_anywhere(engine: ClusterEngine) -> None:
    assert not engine.wait(QUEUES, 0.05)
    engine.add(new("a", "sms"))
    began = time.monotonic()
    assert engine.wait(QUEUES, 5)
    assert time.monotonic() - began < 1


def test_revocations_in_another_slot_are_seen_by_the_claim(engine: ClusterEngine, store: KeyValueStore) -> None:
    engine.add_many([new("one"), new("two"), new("three", "sms")])
    store.put("r:one", b"once")
    store.put("rt:sms:work", b"all")
    seen = {job.id: (job.revoked, job.name_revoked) for job in claim(engine)}
    assert seen == {"one": (b"once", None), "two": (None, None), "three": (None, b"all")}


# --- what a finish leaves in other slots ---


def test_consequences_in_other_slots_follow_a_finish_and_only_a_held_one(
    engine: ClusterEngine, reader: ClusterReader, store: KeyValueStore, connection: ClusterConnection
) -> None:
    store.put("old", b"x")
    engine.add(new("first"))
    (held,) = claim(engine)
    stranger = with_consequences(held)
    assert engine.finish([Finish(held.queue, held.id, "x", Outcome.COMPLETED, writes=stranger.writes)]) == (
        [False],
        engine.claim([], worker="w", request="r", lease=1, limit=1),
    )
    assert store.items() == {"old": b"x"}
    accepted, more = engine.finish(
        [with_consequences(held)],
        claim=[QueueClaim(queue, 5) for queue in QUEUES],
        worker="w1",
        request="r2",
        lease=5000,
        limit=5,
        space=SPACE,
    )
    assert accepted == [True]
    assert {(job.queue, job.id) for job in more.jobs} == {
        ("email", "beside"),
        ("sms", "next"),
        ("reports", "callback"),
    }
    assert store.items() == {"result": b"\x00\xff"}
    assert store.chord_results("c1") == [b"7"]
    assert outboxes(connection) == 0


def test_what_a_dead_worker_did_not_deliver_a_sweep_delivers_once(
    nodes: ClusterNodes,
    engine: ClusterEngine,
    reader: ClusterReader,
    store: KeyValueStore,
    connection: ClusterConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dying = ClusterEngine(ClusterConnection.from_url(nodes.url))

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    engine.add(new("first"))
    (held,) = claim(engine)
    monkeypatch.setattr(dying._outbox, "deliver", die)
    with pytest.raises(KeyboardInterrupt):
        dying.finish([with_consequences(held)], space=SPACE)
    dying.close()
    assert outboxes(connection) == 1
    assert counts(reader)["sms"] == {}
    monkeypatch.setattr(outbox, "PATIENCE", 0.05)
    engine.recover(QUEUES)
    assert outboxes(connection) == 1, "it may still be in the hands of who wrote it"
    time.sleep(0.06)
    engine.recover(QUEUES)
    assert outboxes(connection) == 0
    assert store.items() == {"result": b"\x00\xff"}
    expected = {
        "email": {"waiting": 1, "completed": 1},
        "sms": {"waiting": 1},
        "reports": {"waiting": 1},
    }
    assert counts(reader) == expected
    engine._outbox.deliver([("email", outbox.split(with_consequences(held), "{cloudq:@app}")[1] or b"")], again=True)
    assert counts(reader) == expected, "delivered twice is delivered once"


def test_a_chord_calls_back_once_whoever_comes_last(engine: ClusterEngine, reader: ClusterReader) -> None:
    engine.add_many([new(f"m{n}", queue) for n, queue in enumerate(QUEUES)])
    callback = new("callback", "sms", rerun=True)
    for index, job in enumerate(claim(engine)):
        engine.finish([done(job, chords=(ChordMember("c", index, 3, b"%d" % index, callback),))], space=SPACE)
        assert counts(reader)["sms"].get("waiting", 0) == (1 if index == 2 else 0)


# --- leases and people ---


def test_leases_that_ran_out_in_several_slots_are_recovered(engine: ClusterEngine, reader: ClusterReader) -> None:
    engine.add_many([new(queue, queue) for queue in QUEUES])
    assert len(claim(engine, lease=1)) == 3
    time.sleep(0.01)
    assert engine.recover(QUEUES) == 3
    assert counts(reader) == {queue: {"waiting": 1} for queue in QUEUES}


def test_snapshot_pages_and_find(engine: ClusterEngine, reader: ClusterReader) -> None:
    engine.add_many([new("abc-1"), new("abc-2", "sms"), new("xyz", "sms", delay=60_000)])
    assert len(claim(engine)) == 2
    engine.beat(Presence("w1", "host", 1, QUEUES), ttl=10_000)
    view = reader.snapshot(QUEUES)
    assert [(one.name, one.counts.active, one.counts.delayed, one.workers) for one in view.queues] == [
        ("email", 1, 0, 1),
        ("sms", 1, 1, 1),
        ("reports", 0, 0, 1),
    ]
    assert {job.id for job in view.active} == {"abc-1", "abc-2"}
    assert abs(view.timestamp - engine.now()) < 5000
    assert view.redis.used_memory > 1_000_000
    assert [job.id for job in reader.page("sms", JobState.DELAYED, 0, 9)] == ["xyz"]
    assert reader.job("email", "abc-1").worker == "w1"
    assert reader.find(QUEUES, "abc-2") == ("sms", "abc-2")
    assert reader.find(QUEUES, "xy") == ("sms", "xyz")
    with pytest.raises(AmbiguousId):
        reader.find(QUEUES, "abc")
    assert [worker.id for worker in reader.workers()] == ["w1"]
    engine.leave("w1")
    assert reader.workers() == []


def test_bulk_verbs_undo_and_examination(
    engine: ClusterEngine, reader: ClusterReader, connection: ClusterConnection
) -> None:
    engine.add_many([new(f"{queue}{n}", queue) for queue in QUEUES for n in range(4)])
    assert engine.empty("sms", cutoff=engine.now(), act="act1").moved == 4
    assert engine.undo("sms", "act1").moved == 4
    assert [job.id for job in reader.page("sms", JobState.WAITING, 0, 9)] == [f"sms{n}" for n in range(4)]
    examination = ClusterExamination(connection)
    assert {queue: len(ids) for queue, ids in examination.recorded()} == dict.fromkeys(QUEUES, 4)
    connection.client.zrem("{cloudq:sms}:w", "sms2")
    (flaw,) = examination.judge("sms", [b"sms1", b"sms2"], repair=True)
    assert (flaw.id, flaw.kind.value) == ("sms2", "stateless")
    assert examination.server().aof
    engine.obliterate("sms")
    assert counts(reader)["sms"] == {}


# --- as a whole ---


def test_a_limiter_over_all_queues_is_refused_in_one_line(connection: ClusterConnection) -> None:
    with pytest.raises(SettingsError, match="each queue a limiter of its own") as caught:
        ClusterEngine(connection, limiter=(100, 1000))
    assert "\n" not in str(caught.value)


def test_the_settings_lead_to_the_cluster(nodes: ClusterNodes, connection: ClusterConnection) -> None:
    redis = RedisSettings(host="127.0.0.1", port=nodes.ports[1], cluster=True)
    with build(Settings(redis=redis)) as runtime:
        assert isinstance(runtime.engine, ClusterEngine)
        runtime.engine.add(new("one", "sms"))
        assert runtime.operations.job("sms", "one").state is JobState.WAITING
        assert not [line for line in runtime.operations.examine().findings if line.level.value == "error"]
    with pytest.raises(SettingsError, match="host and port"):
        connect(RedisSettings(socket=Path("/tmp/x"), cluster=True))


def test_a_slot_that_moves_is_followed(
    nodes: ClusterNodes, engine: ClusterEngine, reader: ClusterReader, connection: ClusterConnection
) -> None:
    assert not any(counts(reader).values())
    slot = connection.client.keyslot("{cloudq:sms}:w")
    source, target = (connection.client.get_node_from_key(f"{{cloudq:{queue}}}:w").port for queue in ("sms", "email"))
    nodes.begin_move(slot, source, target)
    assert engine.add_many([new("asked", "sms"), new("own")]) == [True, True]
    nodes.end_move(slot, source, target)
    try:
        assert engine.add_many([new("moved", "sms"), new("other")]) == [True, True]
        assert {job.id for job in claim(engine)} == {"asked", "moved", "own", "other"}
        assert engine.recover(QUEUES) == 0
        engine.obliterate("sms")
    finally:
        nodes.empty()
        nodes.begin_move(slot, target, source)
        nodes.end_move(slot, target, source)
    nodes.wait_until_whole()


def test_a_fork_makes_connections_of_its_own(engine: ClusterEngine, reader: ClusterReader) -> None:
    engine.add(new("parent"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            engine.add(new("child", "sms"))
            engine.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    engine.add(new("after", "sms"))
    assert counts(reader) == {"email": {"waiting": 1}, "sms": {"waiting": 2}, "reports": {}}


TASKS = """
import os
from cloudq_tui import CloudqHuey
huey = CloudqHuey("app", url=os.environ["CLUSTER_URL"], cluster=True)

@huey.task(queue="email")
def double(n):
    return 2 * n

@huey.task(queue="sms")
def add(n, more):
    return n + more

@huey.task(queue="reports")
def total(values):
    return sum(values)
"""


def test_a_consumer_finishes_pipelines_and_a_chord(
    nodes: ClusterNodes,
    connection: ClusterConnection,
    reader: ClusterReader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huey.api import chord

    (tmp_path / "cluster_tasks.py").write_text(TASKS)
    monkeypatch.setenv("CLUSTER_URL", nodes.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    import cluster_tasks  # type: ignore[import-not-found]

    huey: CloudqHuey = cluster_tasks.huey
    script = Path(sys.executable).with_name("huey_consumer")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    log = tmp_path / "consumer.log"
    with log.open("wb") as out:
        consumer = subprocess.Popen(
            [script, "cluster_tasks.huey", "-w", "4"],
            env=os.environ | {"PYTHONPATH": path},
            cwd=tmp_path,
            stdout=out,
            stderr=out,
        )
    try:
        handles = [huey.enqueue(cluster_tasks.double.s(n).then(cluster_tasks.add, 1)) for n in range(50)]
        summed = huey.enqueue(chord([cluster_tasks.double.s(n) for n in range(5)], cluster_tasks.total.s()))
        found = [group.get(blocking=True, timeout=20) for group in handles]
        assert found == [[2 * n, 2 * n + 1] for n in range(50)], log.read_text()
        assert summed.callback.get(blocking=True, timeout=20) == 20
        assert counts(reader) == {
            "email": {"completed": 55},
            "sms": {"completed": 50},
            "reports": {"completed": 1},
        }
        assert outboxes(connection) == 0
    finally:
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(10) == 0, log.read_text()
        huey.engine.close()
    assert "Traceback" not in log.read_text()


def test_a_node_that_is_away_is_told_in_one_line_and_nothing_is_lost(
    nodes: ClusterNodes, engine: ClusterEngine, reader: ClusterReader, connection: ClusterConnection
) -> None:
    engine.add_many([new(queue, queue) for queue in QUEUES])
    held = claim(engine)
    port = connection.client.get_node_from_key("{cloudq:sms}:w").port
    nodes.stop_node(port)
    try:
        with pytest.raises(QueueUnavailable) as caught:
            reader.status(QUEUES)
        assert "\n" not in str(caught.value)
        for call in (lambda: engine.wait(QUEUES, 1), lambda: engine.add(new("x", "sms")), engine.now):
            with pytest.raises(QueueUnavailable):
                call()
        finishes = [done(job, follow_ups=(new(f"next-{job.id}", "sms"),)) for job in held]
        with pytest.raises(QueueUnavailable):
            engine.finish(finishes, space=SPACE)
    finally:
        nodes.start_node(port)
        nodes.wait_until_whole()
    accepted, _ = engine.finish(finishes, space=SPACE)
    assert accepted == [True, True, True], "what the others had accepted is not taken back"
    deadline = time.monotonic() + 10
    while outboxes(connection):
        engine.recover(QUEUES)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert counts(reader)["sms"] == {"waiting": 3, "completed": 1}

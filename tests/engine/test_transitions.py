"""Each verb on a real server: what it moves, what it refuses, what it leaves as it was."""

from __future__ import annotations

import json

import pytest

from cloudq_tui.engine.codec import encode, pack_call
from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.records import (
    ChordMember,
    FailureKind,
    Finish,
    KeyWrite,
    Lease,
    NewJob,
    Outcome,
    QueueClaim,
    Renewal,
    Retention,
)
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import AmbiguousId, Conflict, InvalidOptions, JobNotFound
from cloudq_tui.models.job import JobState

from .conftest import QUEUE, Bench

ERROR = json.dumps({"number": 1, "outcome": "error", "error": "ValueError: no", "traceback": "line 1"}).encode()


def lease_of(job: object) -> Lease:
    return Lease(job.queue, job.id, job.token)  # type: ignore[attr-defined]


# --- add and claim ---


def test_jobs_are_claimed_by_priority_and_first_in_first_out_within(bench: Bench) -> None:
    low, first, second, high = bench.add(rank=7), bench.add(rank=5), bench.add(rank=5), bench.add(rank=1)
    negative = bench.add(rank=-1000)
    assert [job.id for job in bench.claim(5)] == [negative, high, first, second, low]
    assert bench.counts() == {"active": 5}


def test_the_same_id_is_the_same_job_until_it_may_run_again(bench: Bench) -> None:
    job = NewJob(id="one", queue=QUEUE, name="send-email", message=pack_call((), {}))
    again = NewJob(id="one", queue=QUEUE, name="send-email", message=pack_call((), {}), rerun=True)
    assert bench.engine.add(job)
    assert not bench.engine.add(job)
    assert not bench.engine.add(again), "a job that has not finished is never doubled"
    bench.finish(bench.claim()[0])
    assert not bench.engine.add(job)
    assert bench.engine.add(again)
    assert bench.counts() == {"waiting": 1}


def test_a_chosen_id_deduplicates_after_its_record_is_gone(bench: Bench) -> None:
    unique = NewJob(id="order-7", queue=QUEUE, name="send-email", message=pack_call((), {}), unique=True)
    assert bench.engine.add_many([unique, unique]) == [True, False]
    bench.engine.remove(QUEUE, "order-7")
    assert not bench.engine.add(unique)


@pytest.mark.parametrize("rank", [-1001, 1001])
def test_a_priority_out_of_range_is_refused(bench: Bench, rank: int) -> None:
    with pytest.raises(InvalidOptions, match="-1000 to 1000"):
        bench.add(rank=rank)
    assert bench.counts() == {}


def test_a_delayed_job_starts_when_it_is_due_and_waits_since_then(bench: Bench) -> None:
    job_id = bench.add(delay=5000)
    assert bench.counts() == {"delayed": 1}
    assert bench.claim() == []
    result = bench.engine.claim([QueueClaim(QUEUE, 1)], worker="w", request="r", lease=1000, limit=1)
    assert result.next_due is not None
    assert 0 < result.next_due <= 5000
    bench.pass_time(5001)
    assert [job.id for job in bench.claim()] == [job_id]


def test_a_repeated_claim_returns_the_same_jobs(bench: Bench) -> None:
    for _ in range(4):
        bench.add()
    first = bench.claim(2, request="w1-1")
    assert [(job.id, job.token) for job in bench.claim(2, request="w1-1")] == [(job.id, job.token) for job in first]
    assert bench.counts() == {"waiting": 2, "active": 2}
    bench.finish(first[0])
    assert [job.id for job in bench.claim(2, request="w1-1")] == [first[1].id]


def test_one_call_shares_fairly_between_queues(bench: Bench) -> None:
    for _ in range(10):
        bench.add(queue="email")
        bench.add(queue="log-processing")
    bench.add(queue="sms")
    jobs = bench.claim(6, QueueClaim("log-processing", 6), QueueClaim("email", 6), QueueClaim("sms", 6))
    assert sorted(job.queue for job in jobs) == [
        "email",
        "email",
        "log-processing",
        "log-processing",
        "log-processing",
        "sms",
    ]


def test_concurrency_is_counted_over_all_workers(bench: Bench) -> None:
    for _ in range(5):
        bench.add()
    capped = QueueClaim(QUEUE, 5, concurrency=2)
    held = bench.claim(5, capped, worker="w1")
    assert len(held) == 2
    assert bench.claim(5, capped, worker="w2") == []
    bench.finish(held[0])
    assert len(bench.claim(5, capped, worker="w2")) == 1


def test_the_limiter_is_a_sliding_window(bench: Bench) -> None:
    for _ in range(9):
        bench.add()
    limited = QueueClaim(QUEUE, 9, limit_max=3, limit_duration=1000)
    assert len(bench.claim(9, limited)) == 3
    bench.pass_time(900)
    assert bench.claim(9, limited) == []
    bench.pass_time(101)
    assert len(bench.claim(9, limited)) == 3
    bench.pass_time(500)
    assert bench.claim(9, limited) == [], "a fixed window would have opened at its edge"
    result = bench.engine.claim([limited], worker="w", request="x", lease=1000, limit=1)
    assert result.next_due is not None
    assert 0 < result.next_due <= 501


def test_one_limiter_may_hold_over_all_queues(bench: Bench) -> None:
    engine = QueueEngine(bench.connection, clock="clock_fixed", limiter=(3, 1000))
    for queue in ("email", "sms"):
        for _ in range(3):
            bench.add(queue=queue)
    wanted = [QueueClaim("email", 5), QueueClaim("sms", 5)]

    def claim(request: str) -> int:
        return len(engine.claim(wanted, worker="w1", request=request, lease=15_000, limit=5).jobs)

    assert [claim("r1"), claim("r2")] == [3, 0]
    bench.pass_time(1001)
    assert claim("r3") == 3


def test_a_paused_queue_gives_nothing_and_resumes_by_itself(bench: Bench) -> None:
    bench.add()
    bench.add(delay=1)
    bench.pass_time(2)
    bench.engine.pause(QUEUE, by="ops1", why="provider down", duration=60_000)
    assert bench.claim() == []
    assert bench.counts() == {"paused": 2}
    assert len(bench.ids("paused")) == 2
    assert bench.ids("waiting") == []
    pause = bench.reader.snapshot([QUEUE]).queues[0].pause
    assert pause is not None
    assert (pause.by, pause.why, pause.until) == ("ops1", "provider down", pause.since + 60_000)
    bench.pass_time(60_001)
    assert bench.counts() == {"waiting": 1, "delayed": 1}
    assert len(bench.claim(2)) == 2


def test_resume_says_whether_it_was_paused(bench: Bench) -> None:
    bench.engine.pause(QUEUE, by="ops1")
    assert bench.engine.resume(QUEUE)
    assert not bench.engine.resume(QUEUE)


# --- finish ---


def test_a_completed_job_keeps_its_result(bench: Bench) -> None:
    bench.add()
    assert bench.finish(bench.claim()[0], result=encode({"sent": 1}))
    job = bench.reader.job(QUEUE, bench.ids("completed")[0])
    assert (job.state, job.result, job.progress, job.attempts_made) == (
        JobState.COMPLETED,
        {"sent": 1},
        100,
        1,
    )
    assert job.finished_on is not None
    assert job.data == {"n": job.id}


@pytest.mark.parametrize(("length", "apart"), [(64, 0), (65, 1)])
def test_a_long_result_has_a_key_of_its_own(bench: Bench, length: int, apart: int) -> None:
    bench.add()
    result = "r" * (length - 2)
    bench.finish(bench.claim()[0], result=encode(result))
    (job_id,) = bench.ids("completed")
    assert bench.reader.job(QUEUE, job_id).result == result
    assert bench.connection.client.exists(f"{{cloudq:{QUEUE}}}:o:{job_id}") == apart
    assert bench.connection.client.object("encoding", f"{{cloudq:{QUEUE}}}:j:{job_id}") == b"listpack"
    bench.engine.retry_all(QUEUE, JobState.COMPLETED, cutoff=bench.now(), act="a1")
    assert bench.reader.job(QUEUE, job_id).result is None
    bench.engine.undo(QUEUE, "a1")
    assert bench.reader.job(QUEUE, job_id).result == result


def test_a_finish_without_the_lease_changes_nothing(bench: Bench) -> None:
    bench.add()
    stale = bench.claim(lease=1000)[0]
    bench.pass_time(1001)
    assert bench.engine.recover([QUEUE]) == 1
    fresh = bench.claim(worker="w2")[0]
    writes = (KeyWrite("result", b"late"),)
    follow = (NewJob(id="next", queue=QUEUE, name="send-email", message=pack_call((), {})),)
    late = Finish(QUEUE, stale.id, stale.token, Outcome.COMPLETED, writes=writes, follow_ups=follow)
    assert bench.engine.finish([late], space="app")[0] == [False]
    assert bench.counts() == {"active": 1}
    assert KeyValueStore(bench.connection, prefix="cloudq", space="app").peek(["result"]) == [None]
    assert bench.finish(fresh)


def test_a_retry_waits_and_remembers_the_attempt(bench: Bench) -> None:
    bench.add(retries=3)
    assert bench.finish(bench.claim()[0], Outcome.RETRY, delay=2000, error="ValueError: no", detail=ERROR)
    job = bench.reader.job(QUEUE, bench.ids("delayed")[0])
    assert (job.attempts_made, job.retries, job.error) == (1, 3, "ValueError: no")
    assert [attempt.error for attempt in job.attempts] == ["ValueError: no"]
    bench.pass_time(2001)
    assert bench.claim()[0].failures == 1


def test_a_failed_job_keeps_reason_and_history(bench: Bench) -> None:
    bench.add()
    bench.finish(bench.claim()[0], Outcome.FAILED, kind=FailureKind.TIMEOUT, error="timeout: 10 s", detail=ERROR)
    job = bench.reader.job(QUEUE, bench.ids("failed")[0])
    assert (job.reason, job.error, job.attempts_made, len(job.attempts)) == ("timeout", "timeout: 10 s", 1, 1)


def test_release_returns_to_the_old_place_and_defer_does_not_use_an_attempt(bench: Bench) -> None:
    first, second = bench.add(), bench.add()
    held = bench.claim()[0]
    bench.finish(held, Outcome.RELEASE)
    assert bench.ids("waiting") == [first, second]
    held = bench.claim()[0]
    bench.finish(held, Outcome.DEFER, delay=1000, error="one a minute for this number")
    job = bench.reader.job(QUEUE, first)
    assert (job.state, job.attempts_made, job.reason) == (JobState.DELAYED, 0, "one a minute for this number")


def test_consequences_land_with_the_finish(bench: Bench) -> None:
    bench.add()
    held = bench.claim()[0]
    follow = NewJob(id="next", queue="sms", name="send-sms", message=pack_call((), {}))
    ended = Finish(
        QUEUE,
        held.id,
        held.token,
        Outcome.COMPLETED,
        writes=(KeyWrite("a", b"1"), KeyWrite("b", None)),
        follow_ups=(follow,),
    )
    bench.engine.finish([ended], space="app")
    assert KeyValueStore(bench.connection, prefix="cloudq", space="app").items() == {"a": b"1"}
    assert bench.counts("sms") == {"waiting": 1}


def test_a_chord_calls_back_once_when_every_member_ended(bench: Bench) -> None:
    callback = NewJob(id="callback", queue=QUEUE, name="sum", message=pack_call((), {}))
    for _ in range(3):
        bench.add()
    for index, job in enumerate(bench.claim(3)):
        member = ChordMember("c1", index, 3, str(index).encode(), callback)
        bench.engine.finish([Finish(QUEUE, job.id, job.token, Outcome.COMPLETED, chords=(member,))], space="app")
        assert bench.ids("waiting") == (["callback"] if index == 2 else [])
    store = KeyValueStore(bench.connection, prefix="cloudq", space="app")
    assert store.chord_results("c1", remove=True) == [b"0", b"1", b"2"]


def test_finish_can_claim_in_the_same_call(bench: Bench) -> None:
    bench.add()
    second = bench.add()
    held = bench.claim()[0]
    ended = Finish(held.queue, held.id, held.token, Outcome.COMPLETED)
    alive, claimed = bench.engine.finish(
        [ended], claim=[QueueClaim(QUEUE, 1)], worker="w1", request="w1-x", lease=1000, limit=1
    )
    assert alive == [True]
    assert [job.id for job in claimed.jobs] == [second]


def test_retention_keeps_the_newest_completed(bench: Bench) -> None:
    for _ in range(30):
        bench.add()
    for job in bench.claim(30):
        ended = Finish(QUEUE, job.id, job.token, Outcome.COMPLETED)
        bench.engine.finish([ended], retention={QUEUE: Retention(completed_count=10)})
    assert bench.counts() == {"completed": 10}
    bench.pass_time(24 * 3600 * 1000 + 1)
    bench.add()
    bench.finish(bench.claim()[0])
    assert bench.counts() == {"completed": 1}


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED])
def test_a_job_may_ask_for_a_shorter_memory(bench: Bench, outcome: Outcome) -> None:
    for _ in range(4):
        bench.add()
    for job in bench.claim(4):
        bench.finish(job, outcome, error="no")
        bench.pass_time(1000)
    bench.add(keep_completed=":3", keep_failed=":3")
    bench.finish(bench.claim()[0], outcome, error="no")
    assert sum(bench.counts().values()) == 3
    bench.add(keep_completed="1:", keep_failed="1:")
    bench.pass_time(500)
    bench.finish(bench.claim()[0], outcome, error="no")
    assert sum(bench.counts().values()) == 2


def test_a_failed_job_may_ask_to_leave_nothing_behind(bench: Bench) -> None:
    bench.add(keep_failed="0")
    bench.finish(bench.claim()[0], Outcome.FAILED, error="no", detail=ERROR)
    assert bench.counts() == {}
    assert bench.connection.client.keys("*:[jpxelko]:*") == []


def test_a_job_may_ask_to_leave_nothing_behind(bench: Bench) -> None:
    bench.add(keep_completed="0")
    bench.finish(bench.claim()[0])
    assert bench.counts() == {}
    names = {key.decode() for key in bench.connection.client.keys("*:[jpxelko]:*")}
    assert names == set()


# --- leases ---


def test_renew_extends_exactly_the_listed_leases(bench: Bench) -> None:
    bench.add()
    bench.add()
    kept, left = bench.claim(2, lease=1000)
    bench.pass_time(900)
    assert bench.engine.renew([lease_of(kept), Lease(QUEUE, left.id, "stranger")], lease=1000) == [
        Renewal.HELD,
        Renewal.LOST,
    ]
    bench.pass_time(200)
    assert bench.engine.recover([QUEUE]) == 1
    assert bench.ids("active") == [kept.id]


def test_a_stalled_job_returns_to_its_old_place_and_in_the_end_fails(bench: Bench) -> None:
    stalled, _ = bench.add(), bench.add()
    for _ in range(3):
        bench.claim(lease=1000)
        bench.pass_time(1001)
        assert bench.engine.recover([QUEUE]) == 1
        assert bench.ids("waiting")[0] == stalled
    bench.claim(lease=1000)
    bench.pass_time(1001)
    bench.engine.recover([QUEUE])
    job = bench.reader.job(QUEUE, stalled)
    assert (job.state, job.reason, job.attempts_made, job.stalled) == (JobState.FAILED, "stalled", 0, 4)
    assert len(job.attempts) == 4


def test_progress_log_and_checkpoint_are_fenced(bench: Bench) -> None:
    bench.add()
    held = lease_of(bench.claim()[0])
    assert bench.engine.progress(held, 40, "send") is Renewal.HELD
    assert bench.engine.log(held, "connecting")
    assert bench.engine.checkpoint(held, encode([1, 2]))
    job = bench.reader.job(QUEUE, held.id)
    assert (job.progress, job.step, job.checkpoint, [line.text for line in job.logs]) == (
        40,
        "send",
        [1, 2],
        ["connecting"],
    )
    stranger = Lease(QUEUE, held.id, "stranger")
    assert bench.engine.progress(stranger, 90, "x") is Renewal.LOST
    assert not bench.engine.log(stranger, "x")
    assert not bench.engine.checkpoint(stranger, b"x")
    bench.engine.cancel(QUEUE, held.id, "ops1")
    assert bench.engine.progress(held, 50, "send") is Renewal.CANCELLED


def test_a_checkpoint_survives_the_worker_and_a_retry_and_ends_with_the_record(bench: Bench) -> None:
    job_id = bench.add()
    bench.engine.checkpoint(lease_of(bench.claim(lease=1000)[0]), b"5")
    bench.pass_time(1001)
    bench.engine.recover([QUEUE])
    held = bench.claim()[0]
    assert held.checkpoint == b"5"
    bench.finish(held)
    bench.engine.retry(QUEUE, job_id)
    held = bench.claim()[0]
    assert held.checkpoint == b"5"
    bench.finish(held, Outcome.FAILED, error="no")
    bench.engine.remove(QUEUE, job_id)
    assert bench.connection.client.keys("*:k:*") == []


def test_a_scrubbed_job_shows_no_secret_and_cannot_be_retried(bench: Bench) -> None:
    kept, gone = bench.add(), bench.add()
    first, second = bench.claim(2)
    assert bench.engine.scrub(lease_of(second), pack_call(({"code": "scrubbed"},), {}))
    assert not bench.engine.scrub(Lease(QUEUE, gone, "stranger"), b"x")
    for job in (first, second):
        bench.finish(job, Outcome.FAILED, error="no")
    assert bench.reader.job(QUEUE, gone).data == {"code": "scrubbed"}
    with pytest.raises(Conflict, match="secret was removed"):
        bench.engine.retry(QUEUE, gone)
    result = bench.engine.retry_all(QUEUE, JobState.FAILED, cutoff=bench.now())
    assert (result.moved, result.skipped) == (1, 1)
    assert bench.ids("waiting") == [kept]


def test_limit_shares_places_between_workers(bench: Bench) -> None:
    for _ in range(3):
        bench.add()
    one, two, three = (lease_of(job) for job in bench.claim(3))
    assert [bench.engine.limit(lease, "aliyun", 2, 60_000) for lease in (one, two)] == [0, 0]
    assert 0 < bench.engine.limit(three, "aliyun", 2, 60_000) <= 60_000
    bench.pass_time(60_001)
    assert bench.engine.limit(three, "aliyun", 2, 60_000) == 0


def test_a_lock_falls_with_its_lease(bench: Bench) -> None:
    bench.add()
    bench.add()
    one, two = (lease_of(job) for job in bench.claim(2, lease=1000))
    assert bench.engine.lock(one, "device-1")
    assert bench.engine.lock(one, "device-1"), "owning it twice is owning it"
    assert bench.engine.lock(two, "device-1") is False
    assert not bench.engine.unlock(two, "device-1")
    bench.engine.renew([two], lease=60_000)
    bench.pass_time(1001)
    assert bench.engine.lock(two, "device-1")


def test_a_released_lock_wakes_who_was_put_off_for_it(bench: Bench) -> None:
    for _ in range(3):
        bench.add()
    owner, waiter, other = bench.claim(3)
    assert bench.engine.lock(lease_of(owner), "device-1")
    assert bench.engine.lock(lease_of(waiter), "device-1") is False
    bench.finish(waiter, Outcome.DEFER, delay=60_000, error="device-1 is busy")
    bench.finish(other, Outcome.DEFER, delay=60_000, error="something else")
    assert bench.engine.unlock(lease_of(owner), "device-1")
    assert (bench.ids("waiting"), bench.ids("delayed")) == ([waiter.id], [other.id])
    again = bench.claim()[0]
    assert bench.engine.lock(lease_of(again), "device-1")


def test_a_lock_may_have_any_name(bench: Bench) -> None:
    bench.add()
    bench.add()
    one, two = (lease_of(job) for job in bench.claim(2))
    assert bench.engine.lock(one, "device")
    assert bench.engine.lock(two, "device") is False
    for name in ("device:w", "device:", "w", ":"):
        assert bench.engine.lock(one, name)


# --- what people do ---


def test_retry_starts_afresh_and_keeps_the_history(bench: Bench) -> None:
    bench.add()
    bench.finish(bench.claim()[0], Outcome.FAILED, error="ValueError: no", detail=ERROR)
    job_id = bench.ids("failed")[0]
    bench.engine.retry(QUEUE, job_id)
    job = bench.reader.job(QUEUE, job_id)
    assert (job.state, job.attempts_made, job.error, len(job.attempts)) == (JobState.WAITING, 0, "", 1)
    with pytest.raises(Conflict, match="waiting"):
        bench.engine.retry(QUEUE, job_id)


def test_acts_on_unknown_jobs_and_wrong_states_are_refused(bench: Bench) -> None:
    for act in (bench.engine.retry, bench.engine.promote, bench.engine.remove):
        with pytest.raises(JobNotFound):
            act(QUEUE, "nobody")
    with pytest.raises(JobNotFound):
        bench.engine.cancel(QUEUE, "nobody", "ops1")
    bench.add()
    held = bench.claim()[0]
    with pytest.raises(Conflict, match="cancel it first"):
        bench.engine.remove(QUEUE, held.id)
    bench.finish(held)
    with pytest.raises(Conflict, match="nothing to cancel"):
        bench.engine.cancel(QUEUE, held.id, "ops1")


def test_promote_and_reschedule(bench: Bench) -> None:
    soon, late = bench.add(delay=60_000), bench.add(delay=90_000)
    bench.engine.promote(QUEUE, late)
    assert bench.ids("waiting") == [late]
    bench.engine.reschedule(QUEUE, soon, 5000)
    due = bench.reader.job(QUEUE, soon).due
    assert due is not None
    assert due - bench.now() <= 5000


def test_cancel_fails_what_waits_and_tells_what_runs(bench: Bench) -> None:
    running, waiting, delayed = bench.add(), bench.add(), bench.add(delay=60_000)
    held = bench.claim()[0]
    assert bench.engine.cancel(QUEUE, waiting, "ops1") is JobState.WAITING
    assert bench.engine.cancel(QUEUE, delayed, "ops1") is JobState.DELAYED
    assert bench.engine.cancel(QUEUE, running, "ops1") is JobState.ACTIVE
    assert bench.engine.renew([lease_of(held)], lease=1000) == [Renewal.CANCELLED]
    assert bench.reader.job(QUEUE, waiting).error == "cancelled by ops1"
    assert bench.reader.job(QUEUE, running).reason == "being cancelled by ops1"


def test_every_cancel_is_counted_apart_by_job_name(bench: Bench) -> None:
    for _ in range(3):
        bench.add()
    bench.add(delay=1000)
    ended, stalled, waits = bench.claim()[0], bench.claim(lease=1)[0], bench.ids("waiting")[0]
    for job_id in (ended.id, stalled.id, waits, bench.ids("delayed")[0]):
        bench.engine.cancel(QUEUE, job_id, "ops")
    bench.finish(ended, Outcome.FAILED, error="no")
    bench.pass_time(2)
    bench.engine.recover([QUEUE])
    assert bench.counts() == {"failed": 4}
    assert bench.connection.client.hget("{cloudq:email}:t", "send-email|x") == b"4"
    assert bench.connection.client.hget("{cloudq:email}:t", "send-email|f") is None


def test_a_cancelled_job_is_not_put_back_and_a_retry_forgets_the_cancel(bench: Bench) -> None:
    job_id = bench.add()
    held = bench.claim()[0]
    bench.engine.cancel(QUEUE, job_id, "ops1")
    bench.finish(held, Outcome.RETRY, delay=100, error="no")
    job = bench.reader.job(QUEUE, job_id)
    assert (job.state, job.reason, job.error) == (JobState.FAILED, "cancelled", "cancelled by ops1")
    bench.engine.retry(QUEUE, job_id)
    held = bench.claim()[0]
    bench.engine.cancel(QUEUE, job_id, "ops1")
    bench.finish(held)
    bench.engine.retry(QUEUE, job_id)
    assert bench.engine.renew([lease_of(bench.claim()[0])], lease=1000) == [Renewal.HELD]


def test_empty_leaves_active_finished_pause_and_newer_jobs(bench: Bench) -> None:
    for _ in range(7):
        bench.add()
    bench.claim()
    for _ in range(5):
        bench.add(delay=60_000)
    bench.engine.pause(QUEUE, by="ops1")
    cutoff = bench.now()
    bench.pass_time(10)
    newer = bench.add(rank=1)
    result, offset, moved = bench.engine.empty(QUEUE, cutoff=cutoff, budget=4), 0, 0
    while True:
        moved, offset = moved + result.moved, offset + result.skipped
        assert result.moved <= 4
        if not result.remaining:
            break
        result = bench.engine.empty(QUEUE, cutoff=cutoff, offset=offset, budget=4)
    assert moved == 11
    assert bench.ids("paused") == [newer]
    assert bench.counts() == {"active": 1, "paused": 1}


def test_clean_takes_what_is_older_than_the_grace(bench: Bench) -> None:
    for _ in range(3):
        bench.add()
    old = bench.claim(2)
    for job in old:
        bench.finish(job)
    bench.pass_time(5000)
    bench.finish(bench.claim()[0])
    result = bench.engine.clean(QUEUE, JobState.COMPLETED, before=bench.now() - 1000, budget=1)
    assert (result.moved, result.remaining) == (1, 1)
    bench.engine.clean(QUEUE, JobState.COMPLETED, before=bench.now() - 1000)
    assert bench.counts() == {"completed": 1}
    with pytest.raises(Conflict, match="active"):
        bench.engine.clean(QUEUE, JobState.ACTIVE, before=0)


def test_retry_all_by_name_and_error(bench: Bench) -> None:
    for name, error in (("a", "535 no"), ("a", "timeout"), ("b", "535 no")):
        bench.add(name=name)
        bench.finish(bench.claim()[0], Outcome.FAILED, error=error)
    result = bench.engine.retry_all(QUEUE, JobState.FAILED, cutoff=bench.now(), name="a", error="535")
    assert (result.moved, result.skipped, result.remaining) == (1, 2, 0)
    assert bench.counts() == {"waiting": 1, "failed": 2}


def test_an_id_is_found_by_its_beginning(bench: Bench) -> None:
    bench.add(id="abc-1")
    bench.add(id="abc-2", queue="sms", delay=1000)
    assert bench.reader.find(["email", "sms"], "abc-2") == ("sms", "abc-2")
    assert bench.reader.find(["email", "sms"], "abc-1") == ("email", "abc-1")
    with pytest.raises(AmbiguousId):
        bench.reader.find(["email", "sms"], "abc")
    with pytest.raises(JobNotFound):
        bench.reader.find(["email", "sms"], "x")


def test_the_snapshot_says_what_the_overview_shows(bench: Bench) -> None:
    for _ in range(25):
        bench.add()
    jobs = bench.claim(22)
    for index, job in enumerate(jobs[:20]):
        if index < 5:
            bench.finish(job, Outcome.FAILED, error="no")
        else:
            bench.finish(job)
    bench.finish(jobs[20], Outcome.FAILED, kind=FailureKind.CANCELLED, error="cancelled by ops1")
    bench.engine.progress(lease_of(jobs[21]), 50, "send")
    view = bench.reader.snapshot([QUEUE, "sms"]).queues[0]
    assert view.failure_rate == 0.25
    assert view.finishes == 20
    assert view.oldest_waiting is not None
    assert sum(view.history) == 21
    assert view.in_rate > 0
    active = bench.reader.snapshot([QUEUE]).active
    assert [(job.id, job.progress, job.step) for job in active] == [(jobs[21].id, 50, "send")]


def test_the_events_tell_what_happened_newest_first(bench: Bench) -> None:
    one, two = bench.add(), bench.add()
    for job in bench.claim(2):
        bench.finish(job)
    seen = [(event.kind, event.job_id) for event in bench.reader.events(QUEUE)]
    assert seen[:2] == [("completed", two), ("completed", one)]
    assert seen[2:] == [("active", one), ("active", two), ("waiting", two), ("waiting", one)]
    assert len(bench.reader.events(QUEUE, limit=3)) == 3


def test_a_completed_job_shows_no_error_of_an_attempt_that_did_not_count(bench: Bench) -> None:
    job_id = bench.add()
    bench.finish(bench.claim()[0], Outcome.RETRY, error="RateLimitExceeded: wait", counted=False)
    bench.finish(bench.claim()[0])
    assert bench.reader.job(QUEUE, job_id).error == ""

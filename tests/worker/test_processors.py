"""Processors `(payload, job)`: payloads, progress, checkpoints, cancellation, leases; and what cannot run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from cloudq_tui.engine import codec
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import Lease, NewJob, QueueClaim, Renewal, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import Cancelled, LeaseLost, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import Backoff, JobPriority, JobState
from cloudq_tui.worker import messages
from cloudq_tui.worker.context import RunningJob
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.leases import HeldLease
from cloudq_tui.worker.options import LeaseOptions, QueueOptions

Until = Callable[..., Any]
Make = Callable[..., CloudqHuey]


class Mail(BaseModel):
    model_config = ConfigDict(extra="forbid")
    to: str
    copies: int = Field(default=1, ge=1, alias="copyCount")


def add(
    engine: QueueEngine, data: Any, name: str = "send", queue: str = "mail", job_id: str = "m1", **more: Any
) -> None:
    engine.add(NewJob(job_id, queue, name, codec.pack_call((data,), {}), **more))


def test_a_processor_gets_its_model_and_its_context(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    @huey.processor("mail", "send", Mail)
    def send(payload: Mail, job: JobContext) -> dict[str, Any]:
        job.update_progress(40, "connect")
        job.log("connected")
        assert job.time_remaining <= 30
        return {"to": payload.to, "copies": payload.copies, "who": [job.id, job.queue, job.name, job.attempt]}

    add(engine, {"to": "a", "copyCount": 2}, timeout=30_000)
    with work(huey):
        until(lambda: reader.job("mail", "m1").state is JobState.COMPLETED)
    job = reader.job("mail", "m1")
    assert job.result == {"to": "a", "copies": 2, "who": ["m1", "mail", "send", 1]}
    assert [line.text for line in job.logs] == ["connected"]
    assert job.data == {"to": "a", "copyCount": 2}


def test_what_a_processor_says_at_length_is_kept_in_part(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    @huey.processor("mail", "send")
    def send(payload: Any, job: JobContext) -> None:
        job.log("l" * 100_000)
        raise PermanentFailure("e" * 100_000)

    add(engine, {"to": "a"})
    with work(huey):
        until(lambda: reader.job("mail", "m1").state is JobState.FAILED)
    job = reader.job("mail", "m1")
    assert len(job.logs[0].text) == 8000
    assert len(job.attempts[0].error) == 2000


def test_a_processor_enqueued_through_its_own_handle(huey: CloudqHuey, reader: QueueReader, work: Any) -> None:
    def send(payload: Mail, job: JobContext) -> int:
        return payload.copies

    handle = huey.register_processor(
        queue="mail",
        name="send",
        func=send,
        model=Mail,
        retries=3,
        backoff=Backoff(delay=2000),
        timeout=60,
        priority=JobPriority.HIGH,
    )
    result = handle(Mail(to="a", copyCount=5))
    job = reader.job("mail", result.id)
    assert (job.priority, job.retries) == (JobPriority.HIGH, 3)
    with work(huey):
        assert result(blocking=True, timeout=5) == 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [({"to": 3}, "send: to: "), ({"to": "a", "bcc": "x"}, "send: bcc: "), ("text", "send: payload: ")],
)
def test_a_payload_that_does_not_fit_fails_with_field_and_reason(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until, data: Any, reason: str
) -> None:
    huey.processor("mail", "send", Mail)(lambda payload, job: None)
    add(engine, data, retries=3)
    with work(huey):
        until(lambda: reader.job("mail", "m1").state is JobState.FAILED)
    job = reader.job("mail", "m1")
    assert job.error.startswith(reason)
    assert job.attempts[-1].outcome == "unreadable"


@pytest.mark.parametrize("message", [b"", b"\x80\x04K\x01.", b"{}", b"[[1],{},{}", b'[[],{},{"chord_config":[1]}]'])
def test_bytes_that_make_no_sense_fail_and_stop_nobody(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until, message: bytes
) -> None:
    huey.processor("mail", "send")(lambda payload, job: payload)
    engine.add(NewJob("bad", "mail", "send", message, retries=5))
    add(engine, {"ok": 1}, job_id="good")
    with work(huey, workers=1):
        until(lambda: reader.job("mail", "good").state is JobState.COMPLETED)
        until(lambda: reader.job("mail", "bad").state is JobState.FAILED)
    assert reader.job("mail", "bad").attempts[-1].outcome == "unreadable"


def test_an_unknown_task_waits_for_a_worker_that_knows_it(
    make_huey: Make, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    old, new = make_huey(), make_huey()
    old.processor("mail", "send")(lambda payload, job: "old")
    add(engine, {}, name="later")
    with work(old):
        until(lambda: reader.job("mail", "m1").state is JobState.DELAYED)
    job = reader.job("mail", "m1")
    assert 3 < (job.due or 0) / 1000 - time.time() <= 5
    assert job.attempts_made == 0
    new.processor("mail", "later")(lambda payload, job: "new")
    engine.promote("mail", "m1")
    with work(new):
        until(lambda: reader.job("mail", "m1").result == "new")


def test_an_unknown_task_fails_in_the_end(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    huey.processor("mail", "send")(lambda payload, job: None)
    add(engine, {}, name="never")
    huey.kv.put("unknown:m1", str(engine.now() - 700_000).encode())
    assert huey.dequeue() is None
    job = reader.job("mail", "m1")
    assert job.state is JobState.FAILED
    assert "no task 'never' on queue 'mail'" in job.error


def test_a_follow_up_this_worker_does_not_know_is_unknown_too(huey: CloudqHuey) -> None:
    @huey.task()
    def first() -> None: ...

    @huey.task()
    def second() -> None: ...

    huey.enqueue(first.s().then(second))
    second.unregister()
    (claim,) = huey.engine.claim([QueueClaim("jobs", 1)], worker="w", request="r", lease=1000, limit=1).jobs
    with pytest.raises(messages.UnknownTask, match="jobs:second"):
        messages.read_task(huey, claim)


def test_progress_is_visible_while_the_job_runs(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    go_on = threading.Event()

    @huey.task(context=True)
    def slow(task: Any = None) -> None:
        task.update_progress(10, "first")
        task.update_progress(11, "first")  # within 100 ms: leaves with the next renewal
        task.update_progress(30, "second")
        go_on.wait(10)
        task.update_progress(100)

    result = slow()
    with work(huey):
        until(lambda: (reader.job("jobs", result.id).progress, reader.job("jobs", result.id).step) == (30, "second"))
        go_on.set()
        until(lambda: reader.job("jobs", result.id).state is JobState.COMPLETED)


def test_a_running_job_learns_that_it_was_cancelled(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    started = threading.Event()

    @huey.processor("mail", "send")
    def send(payload: Any, job: JobContext) -> None:
        started.set()
        while True:
            job.check()
            time.sleep(0.01)

    add(engine, {}, retries=3)
    with work(huey):
        assert started.wait(5)
        assert engine.cancel("mail", "m1", "ops1") is JobState.ACTIVE
        until(lambda: reader.job("mail", "m1").state is JobState.FAILED, 5)
    job = reader.job("mail", "m1")
    assert job.error == "cancelled by ops1"
    assert job.attempts[-1].outcome == "cancelled"
    assert reader.snapshot(["mail"]).queues[0].finishes == 0


def test_a_processor_that_watches_its_time_ends_as_timeout(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    @huey.processor("mail", "send")
    def send(payload: Any, job: JobContext) -> None:
        while True:
            job.update_progress(50, "waiting")
            time.sleep(0.01)

    add(engine, {}, timeout=200)
    with work(huey):
        until(lambda: reader.job("mail", "m1").state is JobState.FAILED, 5)
    assert reader.job("mail", "m1").attempts[-1].outcome == "timeout"


def test_deferring_uses_no_attempt_and_holds_no_thread(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    @huey.processor("mail", "send")
    def send(payload: Any, job: JobContext) -> int:
        wait = job.limit("number", 1, 0.5)
        if wait:
            job.defer(wait, "one every half second")
        return job.attempt

    for n in range(3):
        add(engine, {}, job_id=f"m{n}")
    with work(huey):
        until(lambda: len(reader.page("mail", JobState.DELAYED, 0, 9)) == 2)
        assert reader.page("mail", JobState.DELAYED, 0, 9)[0].reason == "one every half second"
        until(lambda: all(reader.job("mail", f"m{n}").state is JobState.COMPLETED for n in range(3)), 5)
    assert all(reader.job("mail", f"m{n}").result == 1 for n in range(3))


def test_a_checkpoint_survives_a_retry(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    @huey.processor("mail", "send")
    def send(payload: Any, job: JobContext) -> list[int]:
        done = job.last_checkpoint or []
        job.checkpoint([*done, job.attempt])
        if job.attempt < 3:
            raise TemporaryFailure("not yet")
        return list(job.last_checkpoint)

    add(engine, {}, retries=5)
    with work(huey):
        until(lambda: reader.job("mail", "m1").state is JobState.COMPLETED)
    job = reader.job("mail", "m1")
    assert (job.result, job.attempts_made) == ([1, 2, 3], 3)


def test_a_lock_belongs_to_one_live_job(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    together = threading.Barrier(2)

    @huey.processor("mail", "send")
    def send(payload: Any, job: JobContext) -> bool:
        together.wait(5)
        with job.lock("device") as owned:
            together.wait(5)
            return owned

    add(engine, {}, job_id="a")
    add(engine, {}, job_id="b")
    with work(huey, workers=2):
        until(lambda: all(reader.job("mail", one).state is JobState.COMPLETED for one in "ab"))
    assert sorted(bool(reader.job("mail", one).result) for one in "ab") == [False, True]


def test_a_late_finish_after_a_lost_lease_changes_nothing(make_huey: Make, reader: QueueReader, states: Any) -> None:
    huey = make_huey(lease_options=LeaseOptions(lease=0.05, renew=60, sweep=60))

    @huey.task()
    def act() -> int:
        return 1

    @huey.task()
    def after(n: int) -> None: ...

    huey.enqueue(act.s().then(after))
    task = huey.dequeue()
    assert task is not None
    time.sleep(0.1)  # the lease itself is what runs out
    assert huey.engine.recover(["jobs"]) == 1
    huey.execute(task)
    assert states("jobs") == {"waiting": 1}
    assert huey.result_count() == 0
    job = reader.page("jobs", JobState.WAITING, 0, 0)[0]
    assert (job.name, job.stalled) == ("act", 1)


def test_a_context_that_lost_its_lease_says_so(engine: QueueEngine) -> None:
    add(engine, {})
    (claim,) = engine.claim([QueueClaim("mail", 1)], worker="w", request="r", lease=1, limit=1).jobs
    time.sleep(0.01)  # the lease itself is what runs out
    engine.recover(["mail"])
    acts: list[Callable[[RunningJob], Any]] = [
        lambda job: job.update_progress(1),
        lambda job: job.log("x"),
        lambda job: job.checkpoint({}),
        lambda job: job.limit("k", 1, 1),
        lambda job: job.lock("k").__enter__(),
    ]
    for act in acts:
        held = HeldLease(Lease("mail", "m1", claim.token))
        job = RunningJob(engine, claim, held)
        with pytest.raises(LeaseLost):
            act(job)
        assert held.state is Renewal.LOST
        with pytest.raises(LeaseLost):
            job.check()


def test_a_cancelled_context_raises_at_the_next_progress(engine: QueueEngine) -> None:
    add(engine, {})
    (claim,) = engine.claim([QueueClaim("mail", 1)], worker="w", request="r", lease=60_000, limit=1).jobs
    job = RunningJob(engine, claim, HeldLease(Lease("mail", "m1", claim.token)))
    engine.cancel("mail", "m1", "ops1")
    with pytest.raises(Cancelled):
        job.update_progress(1, "x")


def test_queue_options_reach_the_claims(
    make_huey: Make, engine: QueueEngine, reader: QueueReader, work: Any, until: Until, states: Any
) -> None:
    huey = make_huey(
        queue_options={
            "one": QueueOptions(concurrency=1),
            "few": QueueOptions(limiter=(2, 60_000)),
            "own": QueueOptions(per_worker=1),
            "short": QueueOptions(retention=Retention(completed_count=3)),
        }
    )
    running: dict[str, int] = {}
    most: dict[str, int] = {}
    guard = threading.Lock()

    def act(payload: Any, job: JobContext) -> None:
        with guard:
            running[job.queue] = running.get(job.queue, 0) + 1
            most[job.queue] = max(most.get(job.queue, 0), running[job.queue])
        time.sleep(0.02)
        with guard:
            running[job.queue] -= 1

    for queue in ("one", "few", "own", "short"):
        huey.register_processor(queue=queue, name="act", func=act)
        for n in range(5):
            add(engine, {}, name="act", queue=queue, job_id=f"{queue}{n}")
    with work(huey, workers=8):
        until(lambda: all(states(queue) == {"completed": 5} for queue in ("one", "own")))
        until(lambda: states("few") == {"completed": 2, "waiting": 3})
        until(lambda: states("short") == {"completed": 3})
    assert most["one"] == 1
    assert most["own"] == 1


def test_a_result_that_cannot_be_stored_fails_the_job(
    huey: CloudqHuey, engine: QueueEngine, reader: QueueReader, work: Any, until: Until
) -> None:
    huey.processor("mail", "send")(lambda payload, job: object())
    add(engine, {}, retries=3)
    with work(huey):
        until(lambda: reader.job("mail", "m1").state is JobState.FAILED)
    assert "builtins.object" in reader.job("mail", "m1").error


def test_a_pause_holds_and_a_resume_goes_on(
    huey: CloudqHuey, engine: QueueEngine, work: Any, until: Until, states: Any
) -> None:
    huey.processor("mail", "send")(lambda payload, job: 1)
    engine.pause("mail", by="ops1")
    add(engine, {}, job_id="a")
    huey.processor("other", "send")(lambda payload, job: 1)
    add(engine, {}, queue="other", job_id="o")
    with work(huey):
        until(lambda: states("other") == {"completed": 1})
        assert states("mail") == {"paused": 1}
        engine.resume("mail")
        until(lambda: states("mail") == {"completed": 1}, 2)

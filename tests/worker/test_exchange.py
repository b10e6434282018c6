"""The exchange keeps its promises: finishes are not held back, nor jobs claimed ahead; an outage loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from huey.signals import SIGNAL_INTERRUPTED

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import Finish, Outcome, Pending, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import QueueUnavailable, ScriptRefused
from cloudq_tui.models.job import JobState
from cloudq_tui.worker import joblog
from cloudq_tui.worker.appetite import HAND, Appetite
from cloudq_tui.worker.crowd import Crowd
from cloudq_tui.worker.exchange import Exchange
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.options import QueueOptions
from cloudq_tui.worker.parcel import Taken

Until = Callable[..., Any]


class Jobs:
    """Quick jobs, and slow ones that run until they are let go."""

    def __init__(self, huey: CloudqHuey) -> None:
        self.go_on = threading.Event()
        self.started = threading.Event()

        @huey.task()
        def quick(n: int) -> int:
            return n

        @huey.task()
        def slow() -> None:
            self.started.set()
            self.go_on.wait(20)

        self.quick = quick
        self.slow = slow
        self.huey = huey

    def warm_up(self, count: int = 300) -> None:
        """So many quick jobs that the worker claims ahead."""
        results = self.huey.enqueue_many(self.quick.s(n) for n in range(count))
        assert results is not None
        results[count - 1]


def test_a_finish_leaves_although_every_thread_is_busy(
    huey: CloudqHuey, reader: QueueReader, work: Any, until: Until
) -> None:
    jobs = Jobs(huey)
    with work(huey, workers=1):
        jobs.warm_up()
        huey.engine.pause("jobs", by="test")
        last = jobs.quick(7)
        jobs.slow()
        huey.engine.resume("jobs")  # both are claimed in one call
        assert jobs.started.wait(5)
        until(lambda: reader.job("jobs", last.id).state is JobState.COMPLETED, 1)
        jobs.go_on.set()


def test_a_job_claimed_ahead_is_given_back_when_no_thread_comes(
    huey: CloudqHuey, reader: QueueReader, work: Any, until: Until, states: Any
) -> None:
    jobs = Jobs(huey)
    with work(huey, workers=1):
        jobs.warm_up()
        until(lambda: "active" not in states("jobs"))
        huey.engine.pause("jobs", by="test")
        jobs.slow()
        left = jobs.quick(8)
        huey.engine.resume("jobs")
        assert jobs.started.wait(5)
        until(lambda: reader.job("jobs", left.id).state is JobState.WAITING, 1)
        assert reader.job("jobs", left.id).attempts_made == 0
        jobs.go_on.set()
        assert left(blocking=True, timeout=5) == 8


def test_a_log_that_takes_no_line_holds_back_no_finish(
    huey: CloudqHuey, states: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, exchange, go_on = Jobs(huey), Exchange(huey, 1), threading.Event()
    jobs.quick(1)
    exchange.enter()
    end(exchange, exchange.take(lambda: False), 1.0)
    exchange.flush()
    jobs.quick(2)
    taken = exchange.take(lambda: False)
    monkeypatch.setattr(joblog, "flush", lambda: go_on.wait(20))
    end(exchange, taken, 1.0)
    until(lambda: states("jobs") == {"completed": 2}, 5)
    go_on.set()
    exchange.leave()


def end(exchange: Exchange, taken: Taken | None, seconds: float) -> str:
    """The job's queue; it ran for so long."""
    assert taken is not None
    claim = taken.claim
    exchange.done(Finish(claim.queue, claim.id, claim.token, Outcome.COMPLETED), seconds)
    return claim.queue


def test_a_job_passed_over_is_given_back_in_its_time(huey: CloudqHuey, states: Any) -> None:
    """Its queue has no thread left, and jobs of another one come and go."""
    jobs, exchange = Jobs(huey), Exchange(huey, 2)
    other = huey.task(queue="other")(lambda: None)
    for task in (jobs.quick.s(0), other.s()):
        huey.enqueue(task)
        end(exchange, exchange.take(lambda: False), 0.0001)  # so that more are claimed ahead
    huey.enqueue_many(jobs.quick.s(n) for n in range(9))
    assert exchange.take(lambda: False) is not None
    assert states("jobs")["active"] == 9
    claimed = time.monotonic()
    huey.enqueue_many(other.s() for _ in range(9))
    assert end(exchange, exchange.take(lambda: False), 0.0001) == "other"
    exchange._give_back(older_than=time.monotonic() - claimed)
    assert [one.finish.queue for one in exchange._done] == ["other", *["jobs"] * 8]
    exchange.leave()
    assert (states("jobs")["waiting"], states("jobs")["active"]) == (8, 1)


def test_a_lone_workers_next_job_is_of_the_queue_that_waited_longest(huey: CloudqHuey) -> None:
    queues = [f"q{number}" for number in range(8)]
    naps = {queue: huey.task(queue=queue, name="nap")(lambda: None) for queue in queues}
    exchange = Exchange(huey, 1)
    huey.enqueue_many(naps["q0"].s() for _ in range(40))
    for queue in queues[1:]:
        for _ in range(3):
            assert end(exchange, exchange.take(lambda: False), 0.05) == "q0"
        naps[queue]()
        assert end(exchange, exchange.take(lambda: False), 0.05) == queue
    exchange.leave()


def test_quick_jobs_claimed_ahead_without_end_keep_out_no_other_queue(huey: CloudqHuey) -> None:
    jobs, exchange = Jobs(huey), Exchange(huey, 1)
    others = {queue: huey.task(queue=queue, name="nap")(lambda: None) for queue in ("one", "two", "three")}
    huey.enqueue_many(jobs.quick.s(n) for n in range(10_000))
    for queue, nap in others.items():
        for _ in range(500):
            assert end(exchange, exchange.take(lambda: False), 1e-5) == "jobs"
        nap()
        assert queue in {end(exchange, exchange.take(lambda: False), 1e-5) for _ in range(2 * HAND)}
    exchange.leave()


def test_calls_are_shared(huey: CloudqHuey, engine: QueueEngine, work: Any) -> None:
    jobs = Jobs(huey)
    client = engine.connection.client
    client.config_resetstat()
    results = huey.enqueue_many(jobs.quick.s(n) for n in range(2000))
    assert results is not None
    with work(huey, workers=2):
        results[1999]
    scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert scripts - 2000 < 2000 * 0.2  # 2000 were the adds; a fifth of a round trip a job is the aim


def test_an_outage_in_every_call_loses_nothing(
    huey: CloudqHuey, work: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, states: Any
) -> None:
    """Every second call fails: half of these before it reached Redis, half after."""
    engine = huey.engine
    begin, claim, wait, calls = engine.begin_finish, engine.claim, engine.wait_and_claim, iter(range(10**6))

    def cut(verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            turn = next(calls) % 4
            if turn == 1:
                raise QueueUnavailable("cut before")
            answer = verb(*args, **kwargs)
            if turn == 3:
                raise QueueUnavailable("cut after")
            return answer

        return call

    monkeypatch.setattr(huey.engine, "begin_finish", lambda *args, **kwargs: Pending(cut(begin(*args, **kwargs))))
    monkeypatch.setattr(huey.engine, "claim", cut(claim))
    monkeypatch.setattr(huey.engine, "wait_and_claim", cut(wait))
    jobs = Jobs(huey)
    results = huey.enqueue_many(jobs.quick.s(n) for n in range(100))
    assert results is not None
    with work(huey, workers=2):
        assert [one.get(blocking=True, timeout=20) for one in results] == list(range(100))
    assert states("jobs") == {"completed": 100}
    assert "nothing is lost" in caplog.text


def test_an_outage_while_a_job_is_opened_fails_no_job(
    huey: CloudqHuey, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, tries = huey.open, iter([True, True, False])

    def fail_first(claim: Any) -> Any:
        if next(tries, False):
            raise QueueUnavailable("away")
        return opened(claim)

    monkeypatch.setattr(huey, "open", fail_first)
    jobs = Jobs(huey)
    result = jobs.quick(3)
    with work(huey, workers=1):
        assert result(blocking=True, timeout=10) == 3


@pytest.mark.parametrize("refusal", [ValueError("not this one"), ScriptRefused("not this one")])
def test_one_finish_that_no_call_can_carry_does_not_hold_up_the_others(
    huey: CloudqHuey,
    reader: QueueReader,
    work: Any,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Exception,
) -> None:
    begin = huey.engine.begin_finish

    def refuse(finishes: list[Finish], **kwargs: Any) -> Any:
        if any(one.result == b"13" for one in finishes):
            raise refusal
        return begin(finishes, **kwargs)

    monkeypatch.setattr(huey.engine, "begin_finish", refuse)
    jobs = Jobs(huey)
    for n in range(20):
        jobs.quick(n)
    with work(huey, workers=2):
        until(lambda: len(reader.page("jobs", JobState.COMPLETED, 0, 30)) == 19)
        until(lambda: len(reader.page("jobs", JobState.FAILED, 0, 30)) == 1)
    (failed,) = reader.page("jobs", JobState.FAILED, 0, 30)
    assert reader.job("jobs", failed.id).error == "not this one"


def test_stopping_gives_back_what_runs_and_says_so(huey: CloudqHuey, states: Any) -> None:
    jobs = Jobs(huey)
    interrupted: list[str] = []
    huey.signal(SIGNAL_INTERRUPTED)(lambda _, task: interrupted.append(task.name))
    jobs.slow()
    consumer = huey.create_consumer(workers=1, periodic=False)
    consumer.worker_threads[0][1].start()
    assert jobs.started.wait(5)
    consumer.stop(graceful=False)
    assert interrupted == ["slow"]
    assert states("jobs") == {"waiting": 1}
    jobs.go_on.set()
    consumer.worker_threads[0][1].join(5)
    assert states("jobs") == {"waiting": 1}  # its late end changed nothing


def test_max_tasks_recycles_a_worker_and_loses_nothing(huey: CloudqHuey, states: Any, until: Until) -> None:
    jobs = Jobs(huey)
    for n in range(10):
        jobs.quick(n)
    consumer = huey.create_consumer(workers=1, periodic=False, max_tasks=3)
    consumer.worker_threads[0][1].start()
    for _ in range(5):
        consumer.worker_threads[0][1].join(5)
        consumer.check_worker_health()
    until(lambda: states("jobs") == {"completed": 10})
    consumer.stop_flag.set()
    consumer.worker_threads[0][1].join(5)
    consumer.exchange.close()


class _Served:
    """A Huey as an appetite sees it: quick queues, and slow ones that have a cap."""

    def served(self) -> tuple[str, ...]:
        return ("codes", "mails", "exports", "reports")

    def options_of(self, queue: str) -> QueueOptions:
        return QueueOptions(concurrency=2) if queue in {"exports", "reports"} else QueueOptions()


@pytest.mark.parametrize(
    ("slow", "held"),
    [
        (["exports", "reports"], 2),  # the slow ones together
        (["exports", "reports", "mails"], 3),  # and a slow job of another queue
        (["exports", "mails", "mails", "mails", "mails"], 3),  # one of them and a flood of another queue
        (["mails", "mails", "mails", "exports"], 3),
    ],
)
def test_slow_jobs_of_several_queues_leave_a_thread_for_a_code(slow: list[str], held: int) -> None:
    appetite = Appetite(_Served(), 4)  # type: ignore[arg-type]
    assert sum(appetite.start(queue) for queue in slow * 2) == held
    assert appetite.start("codes")
    appetite.ended("codes", 0.01)
    assert not any(appetite.start(queue) for queue in slow)
    assert appetite.start("codes")


def test_slow_jobs_and_a_slow_mail_leave_a_worker_process_for_a_code() -> None:
    crowd = Crowd(4, _Served().served())
    for place, (pid, queue) in enumerate([(1, 3), (os.getppid(), 4)], start=1):  # live ones, an export and a report
        crowd._places[2 * place], crowd._places[2 * place + 1] = pid, queue
    appetite = Appetite(_Served(), 1, crowd=crowd, pool=4)  # type: ignore[arg-type]
    assert not appetite.start("exports")
    assert appetite.start("mails")
    appetite.ended("mails", 60)
    crowd._places[6], crowd._places[7] = 1, 2
    assert not appetite.start("mails")
    assert appetite.start("codes")


def test_slow_jobs_leave_a_worker_process_for_a_code() -> None:
    crowd = Crowd(3, _Served().served())
    crowd._places[2], crowd._places[3] = 1, 3  # a live process with an export
    crowd._places[4], crowd._places[5] = os.getppid(), 4  # another with a report
    appetite = Appetite(_Served(), 1, crowd=crowd, pool=3)  # type: ignore[arg-type]
    assert not appetite.start("exports")
    assert appetite.start("codes")
    appetite.ended("codes", 0.01)
    crowd._places[5] = 2  # that one sends a mail now
    assert not appetite.start("mails")
    assert appetite.start("codes")


def test_a_crowd_counts_the_others_that_live() -> None:
    crowd = Crowd(3, ("a", "b"))
    assert crowd.enter("a", 2)
    assert (crowd.elsewhere("a"), crowd.elsewhere("b")) == (0, 0)
    crowd._places[2], crowd._places[3] = 1, 1  # a live process that is not this one
    crowd._places[4], crowd._places[5] = 2**22 + 1, 1  # none has this pid
    assert (crowd.elsewhere("a"), crowd.elsewhere("b")) == (1, 0)
    crowd.leave()
    assert not crowd.enter("a", 1)
    assert crowd.enter("a", 2)
    assert crowd.elsewhere("unknown") == 0


def test_a_crowd_lets_no_more_in_than_agreed() -> None:
    crowd, context = Crowd(6, ("a", "b")), multiprocessing.get_context("fork")
    entered, leave = context.SimpleQueue(), context.Event()

    def worker() -> None:
        entered.put(crowd.enter("a", 4))
        leave.wait(30)

    workers = [context.Process(target=worker) for _ in range(6)]
    for one in workers:
        one.start()
    answers = [entered.get() for _ in workers]
    leave.set()
    for one in workers:
        one.join()
    assert sorted(answers) == [False, False, True, True, True, True]


def test_a_request_asked_again_gives_the_same_jobs(huey: CloudqHuey) -> None:
    jobs = Jobs(huey)
    for n in range(3):
        jobs.quick(n)
    ask = {"worker": "w", "request": "r1", "lease": 10_000, "limit": 2}
    first = huey.engine.claim([QueueClaim("jobs", 2)], **ask)  # type: ignore[arg-type]
    again = huey.engine.claim([QueueClaim("jobs", 2)], **ask)  # type: ignore[arg-type]
    assert [job.id for job in first.jobs] == [job.id for job in again.jobs]


def test_who_leaves_waits_for_what_another_thread_carries(
    huey: CloudqHuey, states: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flushing thread has taken the finish, but it is not at Redis: the process must not end yet."""
    carried, go_on, begin = threading.Event(), threading.Event(), huey.engine.begin_finish

    def slowly(*args: Any, **kwargs: Any) -> Any:
        carried.set()
        assert go_on.wait(20)
        return begin(*args, **kwargs)

    Jobs(huey).quick(1)
    exchange = Exchange(huey, 1)
    exchange.enter()
    taken = exchange.take(lambda: False)
    assert taken is not None
    monkeypatch.setattr(huey.engine, "begin_finish", slowly)
    claim = taken.claim
    exchange.done(Finish(claim.queue, claim.id, claim.token, Outcome.COMPLETED), 0.0)
    assert carried.wait(10)
    leaving = threading.Thread(target=exchange.leave)
    leaving.start()
    leaving.join(0.2)
    assert leaving.is_alive()
    go_on.set()
    leaving.join(10)
    assert states("jobs") == {"completed": 1}

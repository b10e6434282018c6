"""The consumer as a person runs it: a process of its own, with threads and with worker processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.engine import codec
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import NewJob
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.job import JobState

Start = Callable[..., Any]
Until = Callable[..., Any]
States = Callable[[str], dict[str, int]]

BOTH = pytest.mark.parametrize("kind", ["thread", "process"])

WRITE = """
@huey.task()
def write(n, seconds=0.0):
    time.sleep(seconds)
    with open("done.txt", "a") as out:
        out.write(f"{n}\\n")
    return n
"""


def call(name: str, *args: Any, queue: str = "jobs", job_id: str | None = None, **options: Any) -> NewJob:
    job_id = job_id or f"{name}-{time.monotonic_ns()}-{os.urandom(3).hex()}"
    return NewJob(job_id, queue, name, codec.pack_call(args, {}), **options)


@BOTH
def test_200_jobs_survive_sigkill_in_the_middle(
    kind: str, start_consumer: Start, engine: QueueEngine, states: States, until: Until, tmp_path: Path
) -> None:
    engine.add_many([call("write", n, 0.01) for n in range(200)])
    first = start_consumer(WRITE, "-w", "4", "-k", kind, "-q")
    until(lambda: states("jobs").get("completed", 0) >= 40)
    first.kill_all()
    start_consumer(WRITE, "-w", "4", "-k", kind, "-q")
    until(lambda: states("jobs") == {"completed": 200}, 30)
    ran = Counter((tmp_path / "done.txt").read_text().split())
    assert len(ran) == 200
    # Only what ran when the worker died may have run twice.
    assert sum(count - 1 for count in ran.values()) <= 4


@BOTH
def test_sigint_lets_the_running_job_finish_and_gives_back_the_rest(
    kind: str, start_consumer: Start, engine: QueueEngine, states: States, until: Until
) -> None:
    engine.add_many([call("write", n, 0.5) for n in range(10)])
    consumer = start_consumer(WRITE, "-w", "2", "-k", kind)
    until(lambda: states("jobs").get("active", 0) == 2)
    consumer.signal(signal.SIGINT)
    assert consumer.wait() == 0
    assert states("jobs").get("active", 0) == 0
    assert states("jobs")["completed"] >= 2
    assert sum(states("jobs").values()) == 10


def test_a_signal_while_the_workers_start_stops_them_in_order(
    start_consumer: Start, reader: QueueReader, states: States, engine: QueueEngine
) -> None:
    """It comes right after the first worker began, before the others."""
    signalled = """
import signal, threading
start = threading.Thread.start
def start_and_signal(thread):
    start(thread)
    if thread.name == "Worker-1":
        os.kill(os.getpid(), signal.SIGINT)
threading.Thread.start = start_and_signal
"""
    engine.add_many([call("write", n, 0.2) for n in range(3)])
    consumer = start_consumer(WRITE + signalled, "-w", "2")
    assert consumer.wait() == 0, consumer.text()
    assert "Traceback" not in consumer.text()
    assert reader.workers() == []
    assert states("jobs").get("active", 0) == 0
    assert sum(states("jobs").values()) == 3


@BOTH
def test_sigterm_gives_running_jobs_back_at_once(
    kind: str, start_consumer: Start, engine: QueueEngine, reader: QueueReader, states: States, until: Until
) -> None:
    engine.add(call("write", 1, 60.0, job_id="long"))
    consumer = start_consumer(WRITE, "-w", "2", "-k", kind)
    until(lambda: states("jobs").get("active", 0) == 1)
    consumer.signal(signal.SIGTERM)
    consumer.wait()
    until(lambda: states("jobs") == {"waiting": 1}, 1.5, "released, not recovered after its lease")
    job = reader.job("jobs", "long")
    assert (job.attempts_made, job.stalled) == (0, 0)


def test_sighup_starts_the_consumer_anew(
    start_consumer: Start, engine: QueueEngine, states: States, until: Until
) -> None:
    consumer = start_consumer(WRITE, "-w", "2")
    engine.add(call("write", 1))
    until(lambda: states("jobs") == {"completed": 1})
    consumer.signal(signal.SIGHUP)
    until(lambda: consumer.text().count("Huey consumer started") == 2)
    engine.add(call("write", 2))
    until(lambda: states("jobs") == {"completed": 2})
    assert consumer.process.poll() is None


def test_a_hard_timeout_in_a_worker_process(
    start_consumer: Start, engine: QueueEngine, reader: QueueReader, states: States, until: Until
) -> None:
    engine.add(call("write", 1, 60.0, job_id="slow", timeout=300))
    start_consumer(WRITE, "-w", "1", "-k", "process")
    until(lambda: states("jobs") == {"failed": 1})
    job = reader.job("jobs", "slow")
    assert "timeout" in job.error.lower()
    assert (job.finished_on or 0) - (job.processed_on or 0) < 1300


@BOTH
def test_slow_queues_never_hold_every_worker(
    kind: str, start_consumer: Start, engine: QueueEngine, reader: QueueReader, states: States, until: Until
) -> None:
    source = """
@huey.task(queue="slow")
def crawl():
    time.sleep(60)

@huey.task(queue="fast")
def blink():
    return 1
"""
    engine.add_many([call("crawl", queue="slow") for _ in range(20)])
    start_consumer(source, "-w", "4", "-k", kind)
    until(lambda: states("slow").get("active", 0) == 3)
    engine.add(call("blink", queue="fast", job_id="b"))
    until(lambda: states("fast") == {"completed": 1}, 3)
    job = reader.job("fast", "b")
    assert (job.processed_on or 0) - job.timestamp < 1000
    assert states("slow")["active"] == 3


def test_some_queues_only(start_consumer: Start, engine: QueueEngine, states: States, until: Until) -> None:
    source = """
@huey.task(queue="a")
def one():
    pass

@huey.task(queue="b")
def two():
    pass
"""
    engine.add_many([call("one", queue="a"), call("two", queue="b")])
    start_consumer(source, "-w", "2", CLOUDQ_QUEUES="a")
    until(lambda: states("a") == {"completed": 1})
    assert states("b") == {"waiting": 1}


def test_the_log_has_a_json_line_for_each_start_and_end_and_no_payload(
    start_consumer: Start, engine: QueueEngine, states: States, until: Until
) -> None:
    source = """
@huey.task()
def mail(to):
    if to == "bad@example.com":
        raise ValueError("no")
"""
    engine.add_many([call("mail", "good@example.com", job_id="g"), call("mail", "bad@example.com", job_id="b")])
    consumer = start_consumer(source, "-w", "1")
    until(lambda: states("jobs") == {"completed": 1, "failed": 1})
    lines = until(lambda: [json.loads(one) for one in consumer.text().splitlines() if one.startswith("{")])
    until(lambda: len([one for one in consumer.text().splitlines() if one.startswith("{")]) == 4)
    lines = [json.loads(one) for one in consumer.text().splitlines() if one.startswith("{")]
    assert {(line["type"], line["jobId"]) for line in lines} == {
        ("queue_job_start", "g"),
        ("queue_job_complete", "g"),
        ("queue_job_start", "b"),
        ("queue_job_failed", "b"),
    }
    assert all(line["queue"] == "jobs" and line["job"] == "mail" and line["attempt"] == 1 for line in lines)
    assert all("duration" in line for line in lines if line["type"] != "queue_job_start")
    assert not any("@" in json.dumps(line) for line in lines)


def test_a_worker_shows_itself_and_what_it_can_run(start_consumer: Start, reader: QueueReader, until: Until) -> None:
    consumer = start_consumer(WRITE, "-w", "3")
    worker = until(reader.workers)[0]
    assert (worker.pid, worker.queues, worker.threads) == (consumer.process.pid, ("jobs",), 3)
    until(lambda: ("jobs", "write") in reader.catalog())
    consumer.signal(signal.SIGINT)
    consumer.wait()
    assert reader.workers() == []


def test_a_redis_outage_loses_nothing_and_kills_nobody(
    start_consumer: Start, redis_server: Any, engine: QueueEngine, states: States, until: Until
) -> None:
    """The server freezes for a while, as a slow network or a swapping host does."""
    engine.add_many([call("write", n, 0.02) for n in range(100)])
    consumer = start_consumer(WRITE, "-w", "2")
    until(lambda: states("jobs").get("completed", 0) >= 10)
    clients = engine.connection.client
    for _ in range(5):
        clients.client_kill_filter(skipme=True, _type="normal")
        time.sleep(0.05)  # between two cuts, not awaited: the cut itself is the condition
    until(lambda: states("jobs") == {"completed": 100}, 30)
    assert consumer.process.poll() is None


def test_what_is_delayed_starts_on_time_on_an_idle_worker(
    start_consumer: Start, engine: QueueEngine, reader: QueueReader, states: States, until: Until
) -> None:
    start_consumer(WRITE, "-w", "2")
    until(reader.workers)
    for n in range(3):
        engine.add(call("write", n, job_id=f"d{n}", delay=700))
        until(lambda: states("jobs").get("completed", 0) == n + 1)  # noqa: B023 - awaited at once
        job = reader.job("jobs", f"d{n}")
        assert 0 <= (job.processed_on or 0) - (job.timestamp + 700) <= 100


COMPUTE = """
import sys

@huey.task()
def compute():
    with open("turn.txt", "w") as out:
        out.write(str(sys.getswitchinterval()))
"""


def test_a_job_that_computes_lets_others_in_before_a_finish_is_late(
    start_consumer: Start, engine: QueueEngine, states: States, until: Until, tmp_path: Path
) -> None:
    engine.add(call("compute"))
    start_consumer(COMPUTE, "-w", "1", "-q")
    until(lambda: states("jobs") == {"completed": 1})
    assert float((tmp_path / "turn.txt").read_text()) == pytest.approx(0.001)


def test_page_of_completed_holds_results(
    start_consumer: Start, engine: QueueEngine, reader: QueueReader, states: States, until: Until
) -> None:
    engine.add(call("write", 7, job_id="seven"))
    start_consumer(WRITE, "-w", "1")
    until(lambda: states("jobs") == {"completed": 1})
    assert reader.page("jobs", JobState.COMPLETED, 0, 9)[0].id == "seven"
    assert reader.job("jobs", "seven").result == 7


def test_worker_processes_do_not_outlive_a_consumer_that_was_killed(
    start_consumer: Start, reader: QueueReader, until: Until
) -> None:
    consumer = start_consumer(WRITE, "-w", "2", "-k", "process")
    until(lambda: len(reader.workers()) == 2)
    consumer.process.kill()
    consumer.process.wait()
    until(lambda: reader.workers() == [], 6, "they leave, before their presence runs out")

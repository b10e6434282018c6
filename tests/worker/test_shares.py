"""What one queue may take of the workers, with real consumers: caps, pauses, and a backlog beside other work."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import NewJob
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.job import Job, JobState

Start = Callable[..., Any]
Until = Callable[..., Any]
States = Callable[[str], dict[str, int]]

CAPPED = """
huey = CloudqHuey("jobs", url={url!r}, queue_options={{"jobs": QueueOptions({cap})}})
@huey.task()
def nap():
    time.sleep(0.05)
"""
BACKLOG = """
@huey.task(queue="bulk")
def crawl():
    time.sleep(0.3)

@huey.task(queue="other")
def blink(n):
    with open("started.txt", "a") as out:
        out.write(f"{time.time()}\\n")
"""


def most_at_once(jobs: Iterable[Job]) -> int:
    """The most of them that were active at one moment, by the server's clock."""
    changes = [(job.finished_on or 0, -1) for job in jobs] + [(job.processed_on or 0, 1) for job in jobs]
    active = most = 0
    for _, change in sorted(changes):  # one that ended makes room within the same millisecond
        active += change
        most = max(most, active)
    return most


def nap_between_two_consumers(
    cap: str, kinds: tuple[str, str], redis_url: str, start: Start, engine: QueueEngine, reader: QueueReader
) -> dict[str, list[Job]]:
    """What each worker process ran of 60 naps."""
    source = CAPPED.format(url=redis_url, cap=cap)
    for kind in kinds:
        start(source, "-w", "4", "-k", kind, "-q")
    deadline = time.monotonic() + 30
    while len(reader.workers()) < 2:
        assert time.monotonic() < deadline, "the consumers do not show themselves"
        time.sleep(0.01)
    engine.add_many(NewJob(f"nap-{number}", "jobs", "nap", pack_call((), {})) for number in range(60))
    while reader.status(["jobs"])[0].counts.completed < 60:
        assert time.monotonic() < deadline, "not all ended"
        time.sleep(0.02)
    by_worker = defaultdict(list)
    for job in reader.page("jobs", JobState.COMPLETED, 0, 99):
        by_worker[job.worker].append(job)
    return by_worker


def test_a_queues_cap_holds_over_all_workers(
    redis_url: str, start_consumer: Start, engine: QueueEngine, reader: QueueReader
) -> None:
    # Who has ended a job may take the next one in the same call: a cap of its own makes it leave some to the others.
    cap = "concurrency=3, per_worker=2"
    ran = nap_between_two_consumers(cap, ("thread", "process"), redis_url, start_consumer, engine, reader)
    assert len(ran) >= 2, "they shared the work"
    assert most_at_once([job for jobs in ran.values() for job in jobs]) == 3


def test_a_cap_for_each_worker_process(
    redis_url: str, start_consumer: Start, engine: QueueEngine, reader: QueueReader
) -> None:
    ran = nap_between_two_consumers("per_worker=2", ("thread", "thread"), redis_url, start_consumer, engine, reader)
    assert [most_at_once(jobs) for jobs in ran.values()] == [2, 2]


def test_a_pause_ends_by_itself_at_its_time(
    start_consumer: Start, engine: QueueEngine, reader: QueueReader, states: States, until: Until
) -> None:
    start_consumer("@huey.task()\ndef nap(): pass\n", "-w", "2", "-q")
    until(lambda: len(reader.workers()) == 1)
    ends = engine.now() + 1500
    engine.pause("jobs", by="ops", until=ends)
    engine.add(NewJob("one", "jobs", "nap", pack_call((), {})))
    assert states("jobs") == {"paused": 1}
    until(lambda: states("jobs") == {"completed": 1}, 10)
    assert 0 <= (reader.job("jobs", "one").processed_on or 0) - ends < 500


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_backlog_delays_another_queue_by_one_run_at_most(
    kind: str, start_consumer: Start, engine: QueueEngine, states: States, until: Until, tmp_path: Path
) -> None:
    message = pack_call((), {})
    engine.add_many(NewJob(f"crawl-{number}", "bulk", "crawl", message) for number in range(100_000))
    start_consumer(BACKLOG, "-w", "2", "-k", kind, "-q")
    until(lambda: states("bulk").get("completed", 0) >= 2, 20)
    for number in range(4):
        began = time.time()
        engine.add(NewJob(f"blink-{number}", "other", "blink", pack_call((number,), {})))
        until(lambda count=number + 1: states("other") == {"completed": count}, 10)
        started = float((tmp_path / "started.txt").read_text().split()[-1])
        assert started - began < 0.3 + 0.2, "the run that held its worker, and the way"
    assert states("bulk")["active"] >= 1, "the backlog was worked at meanwhile"

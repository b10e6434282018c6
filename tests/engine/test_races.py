"""Threads that race for the same jobs: each job is had once, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.records import Finish, NewJob, Outcome, QueueClaim, Retention
from cloudq_tui.engine.transitions import QueueEngine

QUEUES = ("email", "sms")


def _jobs(count: int) -> list[NewJob]:
    return [
        NewJob(id=f"{queue}-{number}", queue=queue, name="work", message=pack_call((number,), {}), rank=number % 3)
        for queue in QUEUES
        for number in range(count)
    ]


def test_no_job_is_claimed_twice(connection: Connection, redis_url: str) -> None:
    engine = QueueEngine(connection)
    engine.add_many(_jobs(400))
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def work(worker: str) -> None:
        mine = QueueEngine(Connection.from_url(redis_url))
        request = 0
        while True:
            request += 1
            claims = [QueueClaim(queue, 7) for queue in QUEUES]
            jobs = mine.claim(claims, worker=worker, request=f"{worker}-{request}", lease=60_000, limit=7).jobs
            if not jobs:
                break
            with lock:
                seen.update(job.id for job in jobs)
            ended = [Finish(job.queue, job.id, job.token, Outcome.COMPLETED) for job in jobs]
            held, _ = mine.finish(ended, retention=dict.fromkeys(QUEUES, Retention(completed_count=0)))
            assert all(held)
        mine.close()

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 800
    assert set(seen.values()) == {1}


def test_a_limiter_holds_between_racing_workers(connection: Connection, redis_url: str) -> None:
    QueueEngine(connection).add_many(_jobs(60))
    taken: list[str] = []
    limited = [QueueClaim("email", 10, limit_max=25, limit_duration=3_600_000)]

    def work(worker: str) -> None:
        mine = QueueEngine(Connection.from_url(redis_url))
        for request in range(10):
            result = mine.claim(limited, worker=worker, request=f"{worker}-{request}", lease=60_000, limit=10)
            taken.extend(job.id for job in result.jobs)
        mine.close()

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 25


def _claim_for_a_while(url: str, worker: str, seconds: float) -> list[int]:
    """When each job that this process got was started, by the server's clock."""
    engine = QueueEngine(Connection.from_url(url))
    limited = [QueueClaim("email", 10, limit_max=20, limit_duration=300)]
    starts: list[int] = []
    request, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        request += 1
        jobs = engine.claim(limited, worker=worker, request=f"{worker}-{request}", lease=60_000, limit=10).jobs
        starts += [job.processed_on for job in jobs]
    engine.close()
    return starts


def test_no_window_of_a_limiter_has_more_starts_between_eight_processes(connection: Connection, redis_url: str) -> None:
    QueueEngine(connection).add_many(_jobs(400))
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        found = pool.starmap(_claim_for_a_while, [(redis_url, f"w{number}", 2.0) for number in range(8)])
    starts = sorted(start for some in found for start in some)
    assert len(starts) >= 100, "five windows, filled"
    assert all(later - start >= 300 for start, later in zip(starts, starts[20:], strict=False))
    assert sum(1 for some in found if some) > 1, "they raced"


def test_a_long_backlog_holds_up_no_other_queue(engine: QueueEngine) -> None:
    engine.add_many(NewJob(f"{number:x}", "email", "work", b"") for number in range(100_000))
    wanted = [QueueClaim(queue, 4) for queue in QUEUES]
    for request in range(5):
        engine.claim(wanted, worker="w", request=f"before-{request}", lease=60_000, limit=4)
    engine.add(NewJob("one", "sms", "work", b""))
    taken = engine.claim(wanted, worker="w", request="next", lease=60_000, limit=4).jobs
    assert "one" in {job.id for job in taken}, "the first claim after it has it"

"""Real consumers and a real Redis, killed, stopped and cut off at random while jobs run.

After each storm: every accepted job is in exactly one state, all have ended, and a job ran more than once only where
its worker was struck. `CLOUDQ_CHAOS_JOBS=5000 pytest tests/chaos -s` runs it long and prints the figures.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import NewJob
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import QueueUnavailable

from .proxy import Proxy

JOBS = int(os.environ.get("CLOUDQ_CHAOS_JOBS", "1000"))
QUEUES = tuple(f"q{number}" for number in range(8))
ROOT = Path(__file__).parents[2]
LEASE = 2.0
APP = """
import os, random, time
from cloudq_tui.engine.records import Retention
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.options import LeaseOptions, QueueOptions
QUEUES = {queues!r}
keep = QueueOptions(retention=Retention(0, 0, 0))
huey = CloudqHuey('chaos', url={url!r}, lease_options=LeaseOptions({lease}, 0.5, 0.3, 50),
                  queue_options=dict.fromkeys(QUEUES, keep))
runs = os.open({runs!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def work(job_id):
    os.write(runs, f'{{job_id}} {{os.getpid()}} {{os.getppid()}}\\n'.encode())
    time.sleep(random.uniform(0, 0.02))
for queue in QUEUES:
    huey.task(queue=queue, name='work')(work)
"""

SLOW_APP = """
import time
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.options import LeaseOptions
huey = CloudqHuey('chaos', url={url!r}, lease_options=LeaseOptions({options}))
huey.task(queue='q0', name='work')(lambda job_id: time.sleep(60))
"""


def say(figures: str) -> None:
    print(f"\n{figures}")  # noqa: T201 - read with pytest -s


class Storm:
    """A Redis with its jobs, consumers on it, and who of them was struck."""

    def __init__(self, folder: Path, server: object) -> None:
        self.folder = folder
        self.server = server
        self.url = server.url  # type: ignore[attr-defined]
        self.connection = Connection.from_url(self.url, timeout=2.0)
        self.engine, self.reader = QueueEngine(self.connection), QueueReader(self.connection)
        self.consumers: list[subprocess.Popen[bytes]] = []
        self.struck: set[int] = set()
        self.all_struck = False
        self.random = random.Random(11)
        self.runs = folder / "runs"
        self.runs.touch()
        self.lead(self.url)

    def lead(self, url: str) -> None:
        """Consumers that start from now on find the server at `url`."""
        source = APP.format(queues=QUEUES, url=url, runs=str(self.runs), lease=LEASE)
        (self.folder / "chaos_app.py").write_text(source)

    def add(self, count: int = JOBS) -> list[str]:
        jobs = [
            NewJob(f"{queue}-{number}", queue, "work", pack_call((f"{queue}-{number}",), {}), retries=0)
            for number in range(count // len(QUEUES))
            for queue in QUEUES
        ]
        assert all(self.engine.add_many(jobs))
        return [job.id for job in jobs]

    def start(self, kind: str = "thread", workers: int = 4) -> subprocess.Popen[bytes]:
        with (self.folder / "consumers.log").open("ab") as log:
            consumer = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "huey.bin.huey_consumer",
                    "chaos_app.huey",
                    "-w",
                    str(workers),
                    "-k",
                    kind,
                    "-q",
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)])},
                start_new_session=True,
            )
        self.consumers.append(consumer)
        return consumer

    def strike(self, consumer: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """A signal to the consumer and its worker processes, as to a host that dies."""
        self.struck.add(consumer.pid)
        os.killpg(consumer.pid, number)
        if number == signal.SIGKILL:
            consumer.wait(20)
            self.consumers.remove(consumer)

    def counts(self) -> dict[str, int]:
        totals: dict[str, int] = defaultdict(int)
        for status in self.reader.status(QUEUES):
            for name in status.counts.__slots__:
                totals[name] += getattr(status.counts, name)
        return totals

    def left(self) -> int:
        try:
            counts = self.counts()
        except QueueUnavailable:
            return JOBS
        return counts["waiting"] + counts["active"] + counts["delayed"]

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {dict(self.counts())}\n{self.log()[-3000:]}"
            time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "consumers.log").read_text()

    def calm(self, ids: list[str]) -> int:
        """Wait until all have ended and check what must be true; how many runs there were beyond one each."""
        self.until(lambda: self.left() == 0, "not all jobs ended")
        counts = self.counts()
        assert counts["completed"] == len(ids), dict(counts)
        assert sum(counts.values()) == len(ids), dict(counts)
        client = self.connection.client
        for queue in QUEUES:
            base = f"{{cloudq:{queue}}}"
            completed = {member.decode() for member in client.zrange(f"{base}:c", 0, -1)}
            assert completed == {job_id for job_id in ids if job_id.startswith(f"{queue}-")}
            assert client.exists(*(f"{base}:{state}" for state in "wadf")) == 0
            self.metrics_agree(base, len(completed))
        by_job: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for line in self.runs.read_text().splitlines():
            job_id, pid, parent = line.split()
            by_job[job_id].append((int(pid), int(parent)))
        assert set(by_job) == set(ids), "every job ran"
        for job_id, runs in by_job.items():
            for pid, parent in runs[:-1]:
                assert self.all_struck or {pid, parent} & self.struck, f"{job_id} ran twice: {runs} {self.struck}"
        return sum(len(runs) - 1 for runs in by_job.values())

    def metrics_agree(self, base: str, completed: int) -> None:
        """The counters of a queue, by job name and by minute, tell what truly ended."""
        client = self.connection.client
        totals = {field.decode(): int(value) for field, value in client.hgetall(f"{base}:t").items()}
        assert totals["work|c"] == completed
        assert totals.keys().isdisjoint({"work|f", "work|x", "work|r"})
        assert sum(value for field, value in totals.items() if field.startswith("work|D")) == completed
        assert sum(value for field, value in totals.items() if field.startswith("work|W")) == completed
        minutes = [client.hgetall(key) for key in client.keys(f"{base}:h:*")]
        assert sum(int(minute.get(b"c", 0)) for minute in minutes) == completed
        assert all(0 < client.ttl(key) <= 90_000 for key in client.keys(f"{base}:h:*")), "kept for a day"

    def end(self) -> None:
        for consumer in list(self.consumers):
            if consumer.poll() is None:
                os.killpg(consumer.pid, signal.SIGKILL)
                consumer.wait(20)
        self.connection.close()


@pytest.fixture
def storm(tmp_path: Path, own_server: object) -> Iterator[Storm]:
    made = Storm(tmp_path, own_server)
    yield made
    made.end()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_consumers_killed_at_random(storm: Storm, kind: str) -> None:
    ids = storm.add()
    for _ in range(2):
        storm.start(kind)
    kills, began = 0, time.monotonic()
    while storm.left() > len(ids) // 10 and kills < 6:
        target = len(ids) - (kills + 1) * len(ids) // 8
        storm.until(lambda goal=target: storm.left() <= goal, "no progress")  # type: ignore[misc]
        storm.strike(storm.random.choice(storm.consumers))
        kills += 1
        storm.start(kind)
    again = storm.calm(ids)
    say(f"{kind}: {len(ids)} jobs, {kills} kills, {again} runs again, {time.monotonic() - began:.1f} s")
    assert kills >= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_consumers_told_to_go(storm: Storm, number: signal.Signals) -> None:
    ids = storm.add(JOBS // 2)
    first = storm.start()
    storm.until(lambda: storm.left() < len(ids) * 3 // 4, "no progress")
    # An interrupted job goes back at once and may have begun; a graceful end repeats nothing.
    if number == signal.SIGTERM:
        storm.struck.add(first.pid)
    os.kill(first.pid, number)
    if number != signal.SIGHUP:
        assert first.wait(30) == 0
        storm.consumers.remove(first)
        assert storm.counts()["active"] == 0, "nothing is left behind"
        storm.start()
    storm.calm(ids)


def test_redis_killed_and_started_again(storm: Storm) -> None:
    ids = storm.add()
    storm.start()
    storm.start("process")
    for goal in (len(ids) * 3 // 4, len(ids) // 2):
        storm.until(lambda goal=goal: storm.left() <= goal, "no progress")  # type: ignore[misc]
        storm.server.stop()  # type: ignore[attr-defined]
        storm.server.start()  # type: ignore[attr-defined]
    storm.all_struck = True  # any worker may have lost its leases with the server
    storm.calm(ids)


def test_redis_that_stops_answering_for_a_while(storm: Storm) -> None:
    ids = storm.add()
    storm.start()
    storm.until(lambda: storm.left() < len(ids) * 3 // 4, "no progress")
    pid = storm.server.process.pid  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(LEASE + 0.5)
    os.kill(pid, signal.SIGCONT)
    storm.all_struck = True
    storm.calm(ids)


def test_connections_cut_under_load(storm: Storm) -> None:
    ids = storm.add()
    storm.start()
    storm.start("process")
    killer = redis.Redis.from_url(storm.url)
    while storm.left() > len(ids) // 10:
        killer.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.05)
    killer.close()
    storm.all_struck = True  # a finish whose answer was cut off may find its lease gone
    storm.calm(ids)


@pytest.fixture
def link(storm: Storm) -> Iterator[Proxy]:
    """The only way from the consumers to the server."""
    proxy = Proxy(storm.server.socket)  # type: ignore[attr-defined]
    storm.lead(proxy.url)
    yield proxy
    proxy.close()


def test_a_link_that_is_cut_in_the_middle_of_what_it_carries(storm: Storm, link: Proxy) -> None:
    ids = storm.add()
    storm.start()
    storm.start("process")
    cuts = 0
    for goal in range(len(ids) * 7 // 8, len(ids) // 8, -len(ids) // 8):
        storm.until(lambda goal=goal: storm.left() <= goal, "no progress")  # type: ignore[misc]
        link.cut()
        time.sleep(storm.random.uniform(0, 0.4))
        link.mend()
        cuts += 1
    storm.all_struck = True  # what was cut off may have lost its lease
    again = storm.calm(ids)
    say(f"{len(ids)} jobs, {cuts} cuts, {again} runs again")


def test_a_link_that_is_cut_for_longer_than_a_lease(storm: Storm, link: Proxy) -> None:
    ids = storm.add(JOBS // 2)
    storm.start()
    storm.until(lambda: storm.left() < len(ids) * 3 // 4, "no progress")
    link.cut()
    away = time.monotonic()
    storm.until(lambda: time.monotonic() > away + LEASE + 0.5, "the lease runs out")
    link.mend()
    storm.all_struck = True
    storm.calm(ids)


def test_a_slow_link_costs_time_and_nothing_else(storm: Storm, link: Proxy) -> None:
    link.delay = 0.05
    ids = storm.add(JOBS // 2)
    began = time.monotonic()
    storm.start()
    storm.start("process")
    # Nobody is struck: leases are renewed in time over a link of 100 ms, so no job may run twice.
    assert storm.calm(ids) == 0
    say(f"{len(ids)} jobs over a link of 100 ms a round trip: {time.monotonic() - began:.1f} s, none ran twice")


def test_a_worker_that_sleeps_past_its_lease_changes_nothing_late(storm: Storm) -> None:
    ids = storm.add(JOBS // 2)
    sleeper = storm.start()
    storm.until(lambda: storm.left() < len(ids) * 3 // 4, "no progress")
    storm.strike(sleeper, signal.SIGSTOP)
    began = time.monotonic()
    storm.start()
    storm.until(lambda: storm.left() == 0, "its jobs were not taken over")
    took = time.monotonic() - began
    before = storm.counts()
    os.killpg(sleeper.pid, signal.SIGCONT)
    os.kill(sleeper.pid, signal.SIGINT)
    sleeper.wait(30)
    storm.consumers.remove(sleeper)
    assert storm.counts() == before
    storm.calm(ids)
    say(f"taken over and all ended within {took:.1f} s of a frozen worker (lease {LEASE} s)")


@pytest.mark.parametrize(("options", "most"), [("", 20.0), ("1.5, 0.4, 0.2", 2.0)])
def test_jobs_of_a_dead_worker_wait_again_in_time(storm: Storm, options: str, most: float) -> None:
    (storm.folder / "chaos_app.py").write_text(SLOW_APP.format(url=storm.url, options=options))
    storm.engine.add_many(NewJob(str(number), "q0", "work", pack_call((str(number),), {})) for number in range(4))
    doomed = storm.start()
    storm.until(lambda: storm.counts()["active"] == 4, "not all started")
    storm.engine.pause("q0", by="test")  # what comes back stays to be seen
    storm.start()
    storm.until(lambda: len(storm.reader.workers()) == 2, "nobody is left to find them")
    storm.strike(doomed)
    died = time.monotonic()
    storm.until(lambda: storm.counts()["paused"] == 4, "they do not wait again", most + 5)
    took = time.monotonic() - died
    say(f"from a worker's death to its jobs waiting again: {took:.1f} s ({options or 'defaults'})")
    assert took <= most

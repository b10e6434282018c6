"""How fast the engine is, as ratios to plain `PriorityRedisHuey` on the same Redis in the same run.

    python tests/bench/bench.py [--jobs N] [--rounds R] [--only drain,enqueue,...] [--socket]

Each round measures both systems one after the other; the table holds the medians of all rounds. Jobs do nothing and
carry 200 bytes. Workers are `huey_consumer` processes as a person starts them, with one thread each and their default
logging (to a file nobody reads). The server is private, without persistence, on loopback, as a server of its own host
would be reached; with --socket on a unix socket. Its program is the tests': CLOUDQ_TEST_REDIS names another.
"""

# ruff: noqa: T201 - a report is printed
from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT)]

import redis  # noqa: E402 - after the path that finds the neighbours
from conftest import RedisServer  # noqa: E402 - the tests' own server
from subject import NAME, PAYLOAD, SYSTEMS, Subject  # noqa: E402

Figures = dict[str, float]


class Bench:
    """One private server, and everything that is measured on it."""

    def __init__(self, server: RedisServer, url: str = "") -> None:
        self.server = server
        self.url = url or server.url
        self.client = redis.Redis(unix_socket_path=server.socket)

    def subject(self, system: str, *, keep_all: bool = False) -> Subject:
        """The system on an empty server."""
        self.client.flushall()
        return Subject(system, self.url, keep_all=keep_all)

    # --- what is measured ---

    def drain(self, system: str, jobs: int, workers: int) -> float:
        """Jobs per second, from the first tenth done to all done."""
        subject = self.subject(system)
        self.fill(subject, system, jobs)
        with self.consumers(system, workers):
            self.until(system, jobs - jobs // 10)
            began = time.perf_counter()
            self.until(system, 0)
            return (jobs - jobs // 10) / (time.perf_counter() - began)

    def enqueue(self, system: str, jobs: int) -> float:
        """Calls per second of one producer, one by one."""
        subject = self.subject(system)
        subject.noop(PAYLOAD)
        began = time.perf_counter()
        for _ in range(jobs):
            subject.noop(PAYLOAD)
        return jobs / (time.perf_counter() - began)

    def enqueue_in_bulk(self, jobs: int) -> float:
        """Jobs per second of `enqueue_many`; plain Huey has no such call."""
        subject = self.subject("ours")
        subject.noop(PAYLOAD)
        began = time.perf_counter()
        subject.huey.enqueue_many(subject.noop.s(PAYLOAD) for _ in range(jobs))  # type: ignore[attr-defined]
        return jobs / (time.perf_counter() - began)

    def pickup(self, system: str, jobs: int) -> tuple[list[float], float]:
        """Milliseconds from before a job is enqueued until it runs on an idle worker, and its round trips."""
        subject = self.subject(system)
        with self.consumers(system, 1):
            for _ in range(20):  # the first ones find a worker that has just begun
                subject.noop(PAYLOAD)
                time.sleep(0.01)
            time.sleep(0.3)
            self.client.config_resetstat()
            results = []
            for _ in range(jobs):
                results.append(subject.latency(time.monotonic(), PAYLOAD))
                time.sleep(0.012)
            time.sleep(0.1)
            trips = (self.round_trips(system) - jobs) / jobs
            return [result.get(blocking=True, timeout=5) * 1000 for result in results], trips

    def trips_under_load(self, system: str, jobs: int) -> float:
        """Round trips of one worker per job."""
        subject = self.subject(system)
        self.fill(subject, system, jobs)
        self.client.config_resetstat()
        with self.consumers(system, 1):
            self.until(system, 0)
            return self.round_trips(system) / jobs

    def bytes_per_job(self, system: str, jobs: int) -> tuple[float, float]:
        """Memory of a waiting and of a completed job that is kept with its result."""
        subject = self.subject(system, keep_all=True)
        subject.noop(PAYLOAD)
        with self.consumers(system, 1, keep_all=True):  # also what belongs to no job is there now
            self.until(system, 0)
        empty = self.memory()
        self.fill(subject, system, jobs)
        waiting = self.memory()
        with self.consumers(system, 1, keep_all=True):
            self.until(system, 0)
        return (waiting - empty) / jobs, (self.memory() - empty) / jobs

    # --- how ---

    def fill(self, subject: Subject, system: str, jobs: int) -> None:
        if system == "ours":
            subject.huey.enqueue_many([subject.noop.s(PAYLOAD) for _ in range(jobs)])  # type: ignore[attr-defined]
            return
        storage = subject.huey.storage
        client, storage.conn = storage.conn, storage.conn.pipeline(transaction=False)
        for n in range(jobs):
            task = subject.noop.s(PAYLOAD)
            storage.enqueue(subject.huey.serialize_task(task), task.priority)
            if n % 1000 == 999:
                storage.conn.execute()
        storage.conn.execute()
        storage.conn = client

    def left(self, system: str) -> int:
        """Jobs that have not ended. Plain Huey knows of none that was taken."""
        if system == "plain":
            return int(self.client.zcard(f"huey.redis.{NAME}"))
        base = f"{{cloudq:{NAME}}}"
        with self.client.pipeline(transaction=True) as pipe:
            return sum(pipe.zcard(base + ":w").zcard(base + ":a").execute())

    def until(self, system: str, left: int) -> None:
        """Wait until so few are left. The server is asked seldom, so that asking costs nothing."""
        deadline = time.monotonic() + 120
        while self.left(system) > left:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{system}: {self.left(system)} jobs are left after two minutes")
            time.sleep(0.01)

    def round_trips(self, system: str) -> float:
        """Commands that clients sent since the counters began; those inside scripts are none."""
        stats = self.client.info("commandstats")
        mine = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_bzpopmin")
        own = ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_zcard", "cmdstat_client|setinfo")
        return sum(
            one["calls"] for name, one in stats.items() if (name in mine if system == "ours" else name not in own)
        )

    def program(self) -> str:
        """The server and its allocator: what both are makes a difference."""
        facts = {**self.client.info("server"), **self.client.info("memory")}
        version = facts.get("valkey_version", facts["redis_version"])
        return f"{facts.get('server_name', 'redis')} {version}, {facts['mem_allocator']}"

    def memory(self) -> int:
        time.sleep(0.2)  # connections that have closed give back their buffers
        return int(self.client.info("memory")["used_memory"])

    @contextmanager
    def consumers(self, system: str, workers: int, *, keep_all: bool = False) -> Iterator[None]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
            "BENCH_SYSTEM": system,
            "BENCH_URL": self.url,
            "BENCH_KEEP_ALL": "1" if keep_all else "",
        }
        command = [sys.executable, "-m", "huey.bin.huey_consumer", "subject.huey", "-w", "1"]
        log = self.server.folder / f"{system}.log"
        with log.open("wb") as out:
            running = [
                subprocess.Popen(command, stdout=out, stderr=out, cwd=HERE, env=environment) for _ in range(workers)
            ]
        try:
            yield
        except TimeoutError:
            print(log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(20)


@contextmanager
def started(*, tcp: bool = False) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="cq-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = RedisServer(Path(folder), *(["--port", str(port)] if tcp else []))
        server.start()
        try:
            yield Bench(server, f"redis://127.0.0.1:{port}/0" if tcp else "")
        finally:
            server.stop()


# --- the table ---


def _drain(bench: Bench, figures: Callable[[str, float], None], jobs: int) -> None:
    for workers in (1, 2):
        for system in SYSTEMS:
            figures(f"{system} drain {workers}", bench.drain(system, jobs, workers))


def _enqueue(bench: Bench, figures: Callable[[str, float], None], jobs: int) -> None:
    for _ in range(3):
        for system in SYSTEMS:
            figures(f"{system} enqueue", bench.enqueue(system, jobs // 4))
        figures("ours bulk", bench.enqueue_in_bulk(jobs))


def _pickup(bench: Bench, figures: Callable[[str, float], None], jobs: int) -> None:
    for system in SYSTEMS:
        times, trips = bench.pickup(system, min(300, jobs))
        figures(f"{system} p50", median(times))
        figures(f"{system} p99", quantiles(times, n=100)[98])
        figures(f"{system} lone", trips)


def _trips(bench: Bench, figures: Callable[[str, float], None], jobs: int) -> None:
    for system in SYSTEMS:
        figures(f"{system} load", bench.trips_under_load(system, jobs // 2))


def _bytes(bench: Bench, figures: Callable[[str, float], None], jobs: int) -> None:
    for system in SYSTEMS:
        waiting, completed = bench.bytes_per_job(system, jobs // 2)
        figures(f"{system} waiting", waiting)
        figures(f"{system} completed", completed)


PARTS = {"drain": _drain, "enqueue": _enqueue, "pickup": _pickup, "trips": _trips, "bytes": _bytes}


def table(found: Figures) -> Iterator[str]:
    """Markdown; a row for each measure that was made."""
    yield "| measure | plain Huey | ours | ratio | target |"
    yield "|---|---|---|---|---|"
    for title, plain, ours, target, form in (
        ("drain, 1 worker process, jobs/s", "plain drain 1", "ours drain 1", "7x", "{:,.0f}"),
        ("drain, 2 worker processes, jobs/s", "plain drain 2", "ours drain 2", "4.5x", "{:,.0f}"),
        ("enqueue one by one, jobs/s", "plain enqueue", "ours enqueue", "0.95x", "{:,.0f}"),
        ("enqueue in bulk (plain: one by one), jobs/s", "plain enqueue", "ours bulk", "6x", "{:,.0f}"),
        ("pickup on an idle worker, p50, ms", "plain p50", "ours p50", "1.2x", "{:.2f}"),
        ("pickup on an idle worker, p99, ms", "plain p99", "ours p99", "1.1x", "{:.2f}"),
        ("round trips per job under load", "plain load", "ours load", "0.2", "{:.2f}"),
        ("round trips for a lone job", "plain lone", "ours lone", "3", "{:.2f}"),
        ("bytes per waiting job", "plain waiting", "ours waiting", "800", "{:,.0f}"),
        ("bytes per completed job (plain: its result)", "plain completed", "ours completed", "1,000", "{:,.0f}"),
    ):
        if plain in found and ours in found:
            shown = form.format(found[plain]), form.format(found[ours])
            yield f"| {title} | {shown[0]} | {shown[1]} | {found[ours] / found[plain]:.2f}x | {target} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs in each drain (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="times everything is measured (3)")
    parser.add_argument("--only", default="", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--socket", action="store_true", help="over a unix socket instead of loopback")
    chosen = parser.parse_args()
    measured: dict[str, list[float]] = {}
    with started(tcp=not chosen.socket) as bench:
        print(bench.program(), end="\n\n")
        for number in range(chosen.rounds):
            for part, measure in PARTS.items():
                if not chosen.only or part in chosen.only.split(","):
                    print(f"round {number + 1} of {chosen.rounds}: {part}", file=sys.stderr)
                    measure(bench, lambda name, value: measured.setdefault(name, []).append(value), chosen.jobs)
    print("\n".join(table({name: median(values) for name, values in measured.items()})))


if __name__ == "__main__":
    main()

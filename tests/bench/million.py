"""How long one call of each bulk verb holds Redis, on a queue of a million jobs, as Redis' own SLOWLOG tells.

    python tests/bench/million.py [--jobs N]

Every verb goes through `QueueOperations`, as a person's key does, and takes all its steps. The server is private and
without persistence; it notes each command of a millisecond or more. It looks at the wall's clock: on a busy machine a
call also counts what the system ran in between, so that a single long one among thousands says little. Most servers use
jemalloc; the wheel's uses glibc's allocator, which puts a few freed millions in order within one call: name another by
CLOUDQ_TEST_REDIS.
"""

# ruff: noqa: T201 - a report is printed
from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Callable
from typing import Any

from bench import Bench, started  # it also knows the way to the tests and the package

from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import Finish, NewJob, Outcome, QueueClaim, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobState
from cloudq_tui.models.queue import BulkResult
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings

QUEUE = "email"
MOST_MS = 5.0
SEED_STEP = 100
FOREVER = Retention(completed_age=0, completed_count=0, failed_age=0)


class Million:
    """One queue of many jobs on one server, and what each verb cost there."""

    def __init__(self, bench: Bench, jobs: int) -> None:
        self.client = bench.client
        self.client.config_set("slowlog-log-slower-than", 1000)
        self.client.config_set("slowlog-max-len", jobs)
        self.jobs = jobs
        connection = Connection.from_url(bench.url)
        self.engine, self.reader = QueueEngine(connection), QueueReader(connection)
        self.operations = QueueOperations(self.engine, self.reader, Settings(), actor=Actor("bench", "python"))
        self.rows: list[str] = []

    def measure(self, verb: str, act: Callable[[], Any]) -> None:
        """Do it, and note how long its calls held the server."""
        print(verb, file=sys.stderr)
        self.client.config_resetstat()
        self.client.slowlog_reset()
        done = act()
        slow = [entry["duration"] / 1000 for entry in self.client.slowlog_get(-1) if is_a_call(entry["command"])]
        stats = self.client.info("commandstats")
        scripts = [one for name, one in stats.items() if name in ("cmdstat_evalsha", "cmdstat_eval")]
        calls = sum(one["calls"] for one in scripts)
        mean = sum(one["usec"] for one in scripts) / calls / 1000
        moved = f"{done.moved:,}" if isinstance(done, BulkResult) else ""
        longest, over = max(slow, default=0), sum(1 for one in slow if one > MOST_MS)
        self.rows.append(f"| {verb} | {moved} | {calls:,} | {mean:.2f} | {longest:.2f} | {over} |")

    # --- seeding ---

    def fill(self, jobs: int, name: str = "") -> None:
        message = pack_call(({"to": "someone@example.com"},), {})
        self.engine.add_many(
            NewJob(f"{name}{number:032x}", QUEUE, "send-email", message, rank=number % 3) for number in range(jobs)
        )

    def end(self, outcome: Outcome, jobs: int, retention: Retention) -> None:
        """Run so many that wait, without any worker around the engine."""
        wanted = [QueueClaim(QUEUE, SEED_STEP)]
        error = "SMTPServerDisconnected: gone" if outcome is Outcome.FAILED else ""
        for _ in range(0, jobs, SEED_STEP):
            request = uuid.uuid4().hex
            claimed = self.engine.claim(wanted, worker="w", request=request, lease=600_000, limit=SEED_STEP).jobs
            ends = [Finish(QUEUE, job.id, job.token, outcome, error=error) for job in claimed]
            self.engine.finish(ends, retention={QUEUE: retention})

    # --- what is measured ---

    def run(self) -> None:
        operations = self.operations
        self.measure("add in bulk", lambda: self.fill(self.jobs))
        self.measure("doctor", lambda: operations.examine(repair=True))
        self.looks(JobState.WAITING)
        self.measure("empty", lambda: operations.empty_queue(QUEUE))
        self.measure("undo of empty", self.undo)
        self.end(Outcome.FAILED, self.jobs, FOREVER)
        self.looks(JobState.FAILED)
        self.measure("retry-all that fits none", lambda: operations.retry_all(QUEUE, name="other"))
        self.measure("retry-all", lambda: operations.retry_all(QUEUE))
        self.measure("undo of retry-all", self.undo)
        self.measure("remove-all (failed)", lambda: operations.clean_queue(QUEUE, 0, "failed"))
        self.measure("undo of remove-all", self.undo)
        self.measure("clean at once (failed)", lambda: operations.clean_queue(QUEUE, 0, "failed", undoable=False))
        self.client.flushall()
        self.fill(self.jobs)
        self.end(Outcome.COMPLETED, self.jobs, FOREVER)
        self.measure("retention", self.retain)

    def undo(self) -> BulkResult:
        return self.operations.undo()[1]

    def looks(self, state: JobState) -> None:
        """What a person sees of it: the overview, and the first and the last page."""
        self.measure("snapshot", self.operations.snapshot)
        self.measure("first page", lambda: self.operations.queue_jobs(QUEUE, state, 0, 49))
        self.measure("last page", lambda: self.operations.queue_jobs(QUEUE, state, self.jobs - 50, self.jobs - 1))
        self.measure("preview", lambda: self.operations.preview_retry(QUEUE))

    def retain(self) -> BulkResult:
        """A queue that kept everything is told to keep 1,000: each finish then forgets a few more than it adds."""
        few = Retention(completed_count=1000)
        steps = 0
        while self.operations.count(QUEUE, JobState.COMPLETED) > few.completed_count:
            self.fill(SEED_STEP, f"more-{steps}-")
            self.end(Outcome.COMPLETED, SEED_STEP, few)
            steps += 1
        return BulkResult(self.jobs + steps * SEED_STEP - few.completed_count)

    def table(self) -> str:
        """Markdown. A verb without any call of a millisecond has a longest of 0."""
        head = f"| verb | jobs | calls | mean ms | longest ms | over {MOST_MS:g} ms |\n|---|---|---|---|---|---|"
        return "\n".join((head, *self.rows))


def is_a_call(command: bytes) -> bool:
    """Whether a client sent it: what a script runs is noted too, and is part of the script's own time."""
    return command.split(b" ", 1)[0].upper() in {b"EVALSHA", b"EVAL", b"SCAN", b"ZSCAN", b"XREVRANGE", b"XADD", b"DEL"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs of the queue (1000000)")
    chosen = parser.parse_args()
    with started() as bench:
        million = Million(bench, chosen.jobs)
        print(bench.program(), end="\n\n")
        million.run()
    print(million.table())


if __name__ == "__main__":
    main()

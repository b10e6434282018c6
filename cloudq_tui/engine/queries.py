"""QueueReader: everything that is looked at. Never mutates; lists carry no payloads."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from cloudq_tui.engine import keys
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.records import StoredCall
from cloudq_tui.engine.rows import (
    number,
    read_active,
    read_call,
    read_job,
    read_metrics,
    read_row,
    read_status,
    read_view,
    text,
)
from cloudq_tui.engine.scripts import Scripts, evaluate
from cloudq_tui.errors import AmbiguousId, JobNotFound
from cloudq_tui.models.event import Actor, AuditEntry, QueueEvent
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.metrics import QueueMetrics
from cloudq_tui.models.queue import Preview, QueueStatus, RedisInfo, Snapshot
from cloudq_tui.models.worker import WorkerInfo

MAX_PAGE = 1000
_CALLS = 250  # stored calls read in one step
_PREFIX_SCANS = 50  # steps of 1,000 ids per state when an id is looked up by its first characters
_BY_AGE = (b"completed", b"failed")
_STATES = ("waiting", "active", "delayed", "failed", "completed")


class QueueReader:
    """Reads on one Redis under one key prefix. Every method raises QueueUnavailable when it cannot be used."""

    def __init__(self, connection: Connection, *, prefix: str = "cloudq", clock: str = "clock") -> None:
        self.connection = connection
        self.prefix = prefix
        self._scripts = Scripts(clock)

    def snapshot(self, queues: Sequence[str], *, active_limit: int = 50) -> Snapshot:
        """What the overview shows, in one round trip whatever the number of jobs. Alerts are left empty.

        `active_limit` bounds the active jobs listed per queue.
        """
        began = time.perf_counter()
        answer, present, server, memory, known = self._overview(queues, active_limit)
        elapsed = (time.perf_counter() - began) * 1000
        now, *rows = answer
        workers = _workers(present)
        serving = Counter(queue for worker in workers for queue in worker.queues)
        views = [read_view(row, name, now, serving[name]) for row, name in zip(rows, queues, strict=True)]
        active = [job for row, name in zip(rows, queues, strict=True) for job in read_active(row, name)]
        return Snapshot(
            timestamp=now,
            queues=tuple(views),
            active=tuple(sorted(active, key=lambda job: job.processed_on or 0)),
            workers=tuple(workers),
            redis=RedisInfo(
                version=_version(server),
                address=self.connection.address,
                used_memory=int(memory.get("used_memory", 0)),
                max_memory=int(memory.get("maxmemory", 0)),
                round_trip=elapsed,
            ),
            known=tuple(sorted(text(name) for name in known)),
        )

    def status(self, queues: Sequence[str]) -> list[QueueStatus]:
        """The counts of some queues; where one's data are spoiled its status says so, and the others are told."""
        if not queues:
            return []
        rows = self._run("status", [self._base(queue) for queue in queues], [])
        return [read_status(row, name) for name, row in zip(queues, rows, strict=True)]

    def page(self, queue: str, state: JobState, start: int, end: int) -> list[Job]:
        """Jobs of one state, both ends included, at most 1,000: waiting in the order they will start, delayed by
        due time, active by lease, finished newest first."""
        end = min(end, start + MAX_PAGE - 1)
        if start < 0 or end < start:
            return []
        rows = self._run("page", [self._base(queue)], [state.value, start, end])
        return [read_row(row, queue) for row in rows if row]

    def calls(self, queue: str, state: JobState, limit: int | None = None) -> list[StoredCall]:
        """The stored calls of `waiting` (as they will start) or `delayed` (by due time), for Huey's listings.

        In bounded steps: a job that moves between two of them may be missed or come twice.
        """
        found: list[StoredCall] = []
        most = math.inf if limit is None else limit
        for start in itertools.count(0, _CALLS):
            end = int(min(start + _CALLS, most)) - 1
            rows = self._run("calls", [self._base(queue)], [state.value, start, end]) if end >= start else []
            found += [read_call(*one) for one in rows if one]
            if len(rows) < _CALLS:
                break
        return found

    def job(self, queue: str, job_id: str, *, payload_limit: int = 65536) -> Job:
        """The one job, whole. Raises JobNotFound. What cannot be decoded is shown as text, what is longer than
        `payload_limit` bytes is cut and says so."""
        answer = self._run("job", [self._base(queue)], [job_id, payload_limit])
        if not answer:
            raise JobNotFound(f"no job {job_id} in queue {queue}; it may have been removed")
        return read_job(answer, queue)

    def find(self, queues: Sequence[str], id_or_prefix: str) -> tuple[str, str]:
        """(queue, id) of an id, in one call; else of the only id that begins so, in bounded scans.

        Raises JobNotFound, or AmbiguousId when several fit.
        """

        def ask() -> list[Any]:
            pipe = self.connection.client.pipeline(transaction=False)
            for queue in queues:
                # `tr` marks a record that lies in the trash.
                pipe.hmget(self._base(queue) + keys.SUFFIXES["record"] + id_or_prefix, "v", "tr")
            rows: list[Any] = pipe.execute()
            return rows

        exact = [
            queue
            for queue, (there, trashed) in zip(queues, self._with_scripts(ask), strict=True)
            if there and not trashed
        ]
        if len(exact) == 1:
            return exact[0], id_or_prefix
        found = [(queue, id_or_prefix) for queue in exact] or list(self._by_prefix(queues, id_or_prefix))
        if not found:
            raise JobNotFound(f"no job's id begins with {id_or_prefix}")
        if len(found) > 1:
            some = ", ".join(f"{queue}/{job_id}" for queue, job_id in found[:3])
            raise AmbiguousId(f"{id_or_prefix} fits more than one job: {some}; give more of the id or name the queue")
        return found[0]

    def preview(
        self, queue: str, states: Sequence[JobState], *, before: int | None = None, sample: int = 200
    ) -> Preview:
        """What a bulk verb over `states` would touch; `before` (epoch ms) leaves out younger jobs.

        Names, errors and ages come from `sample` jobs at both ends of each state. The count is exact, except where
        `before` is given for a state that is not kept by age, and has more jobs than were looked at.
        """
        args = ["" if before is None else before, sample, *(state.value for state in states)]
        answer = self._run("preview", [self._base(queue)], args)
        at_most = False
        if before is not None:
            answer = [_old_enough(one, before) for one in answer]
            at_most = any(total > len(rows) and state not in _BY_AGE for state, total, rows in answer)
        rows = [row for _, _, some in answer for row in some]
        times = [number(row[2]) or number(row[1]) for row in rows]
        return Preview(
            count=sum(total for _, total, _ in answer),
            oldest=min(times, default=None),
            newest=max(times, default=None),
            names=tuple(Counter(text(row[0]) for row in rows).most_common(5)),
            errors=tuple(Counter(text(row[3]) for row in rows if row[3]).most_common(5)),
            sampled=len(rows),
            by_state=tuple((text(state), total) for state, total, _ in answer if total),
            at_most=at_most,
        )

    def events(self, queue: str, limit: int = 100) -> list[QueueEvent]:
        """The newest events of a queue, newest first."""
        with self.connection.guard():
            rows = self.connection.client.xrevrange(self._base(queue) + keys.SUFFIXES["events"], count=limit)
        # One entry names all the jobs that a call moved in the same way.
        events = [
            QueueEvent(
                id=text(entry),
                at=int(text(entry).partition("-")[0]),
                queue=queue,
                kind=text(fields.get(b"k")),
                job_id=job_id,
                detail=text(fields.get(b"d")),
            )
            for entry, fields in rows
            for job_id in text(fields.get(b"j")).split(" ")
        ]
        return events[:limit]

    def metrics(self, queue: str) -> QueueMetrics:
        """What a queue did, by job name since ever and by minute over the last 24 h; one round trip."""
        return read_metrics(self._run("metrics", [self._base(queue)], []), queue)

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """What people did, newest first."""
        with self.connection.guard():
            rows = self.connection.client.xrevrange(keys.shared_base(self.prefix) + keys.AUDIT, count=limit)
        return [
            AuditEntry(
                id=text(entry),
                at=int(text(entry).partition("-")[0]),
                actor=Actor(*(text(fields.get(name)) for name in (b"name", b"door", b"client"))),
                action=text(fields.get(b"action")),
                queue=text(fields.get(b"queue")),
                count=number(fields.get(b"count")),
                detail=text(fields.get(b"detail")),
                act=text(fields.get(b"act")),
            )
            for entry, fields in rows
        ]

    def workers(self) -> list[WorkerInfo]:
        """The live worker processes."""
        return _workers(self._run("workers", [keys.shared_base(self.prefix)], []))

    def known_queues(self) -> list[str]:
        """Queues that ever had a job or a worker, by name."""
        with self.connection.guard():
            return sorted(
                text(name) for name in self.connection.client.smembers(keys.shared_base(self.prefix) + keys.QUEUES)
            )

    def catalog(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(queue, job name) -> what workers published: schema, retries, backoff, limiter."""
        with self.connection.guard():
            rows = self.connection.client.hgetall(keys.shared_base(self.prefix) + keys.CATALOG)
        entries: dict[tuple[str, str], dict[str, Any]] = {}
        for field, value in rows.items():
            queue, _, name = text(field).partition("\n")
            entries[queue, name] = json.loads(value)
        return entries

    def close(self) -> None:
        self.connection.close()

    # --- inner ---

    def _overview(self, queues: Sequence[str], active_limit: int) -> list[Any]:
        """The answers of snapshot.lua and workers.lua, INFO's sections server and memory, and the known queues."""
        script, live = self._scripts["snapshot"], self._scripts["workers"]

        def ask() -> list[Any]:
            pipe = self.connection.client.pipeline(transaction=False)
            pipe.evalsha(script.sha, len(queues), *(self._base(queue) for queue in queues), active_limit)
            pipe.evalsha(live.sha, 1, keys.shared_base(self.prefix))
            pipe.info("server")
            pipe.info("memory")
            pipe.smembers(keys.shared_base(self.prefix) + keys.QUEUES)
            rows: list[Any] = pipe.execute()
            return rows

        rows: list[Any] = self._with_scripts(ask, script.text, live.text)
        return rows

    def _base(self, queue: str) -> str:
        return keys.queue_base(self.prefix, queue)

    def _run(self, name: str, bases: list[str], args: list[Any]) -> Any:
        return self._again(lambda: evaluate(self.connection.client, self._scripts[name], bases, args))

    def _again(self, ask: Any) -> Any:
        """A look may be repeated when the connection broke."""
        with self.connection.guard():
            try:
                return ask()
            except RedisConnectionError:
                if self.connection.revive is not None and not self.connection.revive():
                    raise
                return ask()

    def _with_scripts(self, ask: Any, *sources: str) -> Any:
        """Run a pipeline of EVALSHA; where the server lacks a script, load all and run it again."""

        def once() -> Any:
            try:
                return ask()
            except NoScriptError:
                for source in sources:
                    self.connection.client.script_load(source)
                return ask()

        return self._again(once)

    def _by_prefix(self, queues: Sequence[str], prefix: str) -> Iterator[tuple[str, str]]:
        pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"
        for queue in queues:
            for state in _STATES:
                cursor = 0
                for _ in range(_PREFIX_SCANS):
                    with self.connection.guard():
                        cursor, rows = self.connection.client.zscan(
                            self._base(queue) + keys.SUFFIXES[state], cursor, match=pattern, count=1000
                        )
                    yield from ((queue, text(row[0])) for row in rows)
                    if not cursor:
                        break


def _old_enough(answer: Any, before: int) -> tuple[Any, int, list[Any]]:
    """What preview.lua returned of one state without the jobs created after `before`, counted where all were seen."""
    state, total, rows = answer
    if state in _BY_AGE:
        return state, total, rows
    old = [row for row in rows if number(row[1]) <= before]
    return state, total if total > len(rows) else len(old), old


def _workers(rows: Sequence[Any]) -> list[WorkerInfo]:
    found = []
    for presence, ends in zip(rows[0::2], rows[1::2], strict=True):
        fields = json.loads(presence)
        found.append(
            WorkerInfo(
                id=fields["worker"],
                host=fields["host"],
                pid=fields["pid"],
                queues=tuple(fields["queues"]),
                threads=fields["threads"],
                running=fields["running"],
                started=fields["started"],
                seen=number(ends),
                version=fields["version"],
                # A worker of an older version tells neither.
                clock_ahead=fields["clock"] - fields["at"] if fields.get("clock") and "at" in fields else None,
            )
        )
    return sorted(found, key=lambda worker: worker.id)


def _version(server: dict[str, Any]) -> str:
    """Every Valkey calls itself redis 7.2.4; its own version stands beside that."""
    valkey = server.get("valkey_version")
    return f"valkey {valkey}" if valkey else f"redis {server.get('redis_version', '?')}"

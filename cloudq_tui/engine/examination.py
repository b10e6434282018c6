"""Examination: goes through all that a prefix holds, in bounded steps, for what contradicts itself.

Every id is judged by one script that sees all its states and its record at the same moment, so that a queue at work
is never found wrong for being caught between two looks. Nothing is changed unless `repair` says so.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from cloudq_tui.engine import keys
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.rows import text
from cloudq_tui.engine.scripts import Scripts, evaluate

STEP = 125  # ids in one script call that only looks: about 1 ms of Redis
MENDED = 80  # ids in one that may have to repair them all
LATE_MS = 120_000  # twice the longest `worker.sweep`
_SCAN = 1000  # keys of the whole database that one SCAN passes over
_STATES = ("active", "waiting", "delayed", "failed", "completed")


class FlawKind(enum.StrEnum):
    """What examine.lua finds; its header says what each means and how it is repaired."""

    ORPHAN = "orphan"
    STATELESS = "stateless"
    TRASHED = "trashed"
    DOUBLED = "doubled"
    UNLEASED = "unleased"
    LAPSED = "lapsed"
    HELD = "held"
    MISPLACED = "misplaced"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One contradiction. `done` is the script's word for its repair, "" when it was left as it is."""

    queue: str
    id: str
    kind: FlawKind
    done: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself. `appendfsync` and `save` are None where it refuses to tell its configuration.

    Memory in bytes; `max_memory` 0 means no limit.
    """

    family: str
    version: str
    aof: bool
    appendfsync: str | None
    save: str | None
    failing: tuple[str, ...]
    max_memory: int
    eviction: str
    used_memory: int

    @property
    def full(self) -> bool:
        """Whether it refuses what grows."""
        return 0 < self.max_memory <= self.used_memory


class Examination:
    """One prefix on one Redis. Every method raises QueueUnavailable when it cannot be used.

    `limiter` is (starts, ms) over all queues together; `step` is how many ids one call judges.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str = "cloudq",
        limiter: tuple[int, int] = (0, 0),
        clock: str = "clock",
        step: int = STEP,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._limiter = limiter
        self._scripts = Scripts(clock)
        self._step = step

    def server(self) -> ServerFacts:
        """Family, version, persistence and memory policy of the server."""
        with self._connection.guard():
            pipe = self._connection.client.pipeline(transaction=False)
            for section in ("server", "persistence", "memory"):
                pipe.info(section)
            server, persistence, memory = pipe.execute()
        valkey = server.get("valkey_version")
        writes = (
            ("aof_last_write_status", "write to the AOF"),
            ("aof_last_bgrewrite_status", "rewrite of the AOF"),
            ("rdb_last_bgsave_status", "RDB snapshot"),
        )
        return ServerFacts(
            family="valkey" if valkey else "redis",
            version=str(valkey or server.get("redis_version", "")),
            aof=bool(persistence.get("aof_enabled")),
            appendfsync=self._configured("appendfsync"),
            save=self._configured("save"),
            failing=tuple(name for field, name in writes if persistence.get(field, "ok") != "ok"),
            max_memory=int(memory.get("maxmemory", 0)),
            eviction=str(memory.get("maxmemory_policy", "")),
            used_memory=int(memory.get("used_memory", 0)),
        )

    def spoiled(self, queue: str) -> list[tuple[str, str]]:
        """(key, type) of the queue's own keys that hold something else than they must; no verb works on such."""
        wrong, _, _ = self._run("examine_queue", queue, [""])
        return [(text(key), text(kind)) for key, kind in zip(wrong[0::2], wrong[1::2], strict=True)]

    def spoiled_shared(self) -> list[tuple[str, str]]:
        """As `spoiled`, of the keys that belong to no queue: no list of queues or workers is read from such."""
        base = keys.shared_base(self._prefix)
        wanted = {keys.QUEUES: "set", keys.WORKERS: "zset", keys.CATALOG: "hash", keys.AUDIT: "stream"}
        with self._connection.guard():
            found = [(base + key, text(self._connection.client.type(base + key)), kind) for key, kind in wanted.items()]
        return [(key, kind) for key, kind, must in found if kind not in ("none", must)]

    def standing(self, queue: str) -> Iterator[list[bytes]]:
        """The ids that stand in any state of the queue, in lists for `judge`; one may come more than once."""
        for state in _STATES:
            cursor = 0
            while True:
                with self._connection.guard():
                    cursor, rows = self._connection.client.zscan(
                        self._base(queue) + keys.SUFFIXES[state], cursor, count=self._step
                    )
                yield from _slices([row[0] for row in rows], self._step)
                if not cursor:
                    break

    def recorded(self) -> Iterator[tuple[str, list[bytes]]]:
        """(queue, ids) of all records there are, in lists for `judge`; one may come more than once.

        One pass over the keys of the whole database serves all queues, also those nobody has listed.
        """
        pages: dict[str, list[bytes]] = {}
        pattern = f"{{{self._prefix}:*}}{keys.SUFFIXES['record']}*"
        cursor = 0
        while True:
            with self._connection.guard():
                cursor, names = self._connection.client.scan(cursor, match=pattern, count=_SCAN)
            for queue, job_id in filter(None, map(self._owner, names)):
                page = pages.setdefault(queue, [])
                page.append(job_id)
                if len(page) >= self._step:
                    yield queue, pages.pop(queue)
            if not cursor:
                break
        yield from pages.items()

    def judge(self, queue: str, ids: Sequence[bytes], *, repair: bool = False) -> list[Flaw]:
        """What is wrong with the ids of one such list; what can be is mended in the same call when `repair`."""
        most = min(self._step, MENDED) if repair else self._step
        found: list[Any] = []
        for some in _slices(ids, most):
            found += self._run("examine", queue, [int(repair), LATE_MS, *some])
        triples = zip(found[0::3], found[1::3], found[2::3], strict=True)
        return [Flaw(queue, text(one), FlawKind(text(kind)), text(done)) for one, kind, done in triples]

    def unheard(self, queue: str) -> str:
        """The first waiting job of a queue when it could start and no wake marker tells a worker so; else ""."""
        _, head, _ = self._run("examine_queue", queue, [""])
        return text(head) if head and not self._limited() else ""

    def call(self, queue: str, head: str) -> bool:
        """Set the wake marker, if `head` is still the first waiting job and unheard."""
        return bool(self._run("examine_queue", queue, [head])[2])

    def list_queue(self, queue: str) -> None:
        """Enter a queue in the list that readers go by."""
        with self._connection.guard():
            self._connection.client.sadd(keys.shared_base(self._prefix) + keys.QUEUES, queue)

    # --- inner ---

    def _base(self, queue: str) -> str:
        return keys.queue_base(self._prefix, queue)

    def _run(self, name: str, queue: str, args: Sequence[Any]) -> Any:
        with self._connection.guard():
            return evaluate(self._connection.client, self._scripts[name], [self._base(queue)], list(args))

    def _owner(self, key: bytes) -> tuple[str, bytes] | None:
        """(queue, id) of a record's key; None for any other key that the pattern lets through."""
        queue, _, rest = key[len(self._prefix) + 2 :].partition(b"}")
        marker = keys.SUFFIXES["record"].encode()
        return (text(queue), rest[len(marker) :]) if rest.startswith(marker) else None

    def _configured(self, name: str) -> str | None:
        with self._connection.guard():
            try:
                return text(self._connection.client.config_get(name).get(name))
            except ResponseError:  # a hosted server keeps CONFIG to itself
                return None

    def _limited(self) -> bool:
        """Whether the limiter over all queues holds their jobs back now."""
        most, duration = self._limiter
        if not most:
            return False
        starts = keys.shared_base(self._prefix) + keys.SUFFIXES["limiter"]
        with self._connection.guard():
            seconds, micros = self._connection.client.time()
            since = int(seconds) * 1000 + int(micros) // 1000 - duration
            return int(self._connection.client.zcount(starts, f"({since}", "+inf")) >= most


def _slices(ids: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """A scan may answer with more than was asked for: a small set comes whole."""
    return (list(ids[start : start + most]) for start in range(0, len(ids), most))

"""What belongs to no queue: which workers live, which jobs they know, and what people did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from cloudq_tui.engine import keys
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.records import CatalogEntry, Presence
from cloudq_tui.models.event import Actor


class SharedVerbs:
    """The writing half that needs no script: each is one pipeline on keys of one slot, safe to repeat."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self.connection = connection
        self.prefix = prefix

    def now(self) -> int:
        """The server's clock, epoch ms: the cutoff of a bulk verb."""
        with self.connection.guard():
            seconds, micros = self.connection.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def beat(self, presence: Presence, *, ttl: int) -> None:
        """Say that a worker lives, for `ttl` ms."""
        base, at = keys.shared_base(self.prefix), self.now()
        ends = at + ttl
        with self.connection.guard():
            pipe = self.connection.client.pipeline(transaction=False)
            pipe.zadd(base + keys.WORKERS, {presence.worker: ends})
            pipe.set(base + keys.WORKER + presence.worker, json.dumps(asdict(presence) | {"at": at}), px=ttl)
            pipe.zremrangebyscore(base + keys.WORKERS, "-inf", ends - ttl - 3600_000)
            pipe.execute()

    def leave(self, worker: str) -> None:
        """A worker ended on its own."""
        base = keys.shared_base(self.prefix)
        with self.connection.guard():
            pipe = self.connection.client.pipeline(transaction=False)
            pipe.zrem(base + keys.WORKERS, worker)
            pipe.delete(base + keys.WORKER + worker)
            pipe.execute()

    def publish(self, entries: Sequence[CatalogEntry]) -> None:
        """Say which jobs a worker can run, and with which limiter its queues are claimed."""
        base = keys.shared_base(self.prefix)
        with self.connection.guard():
            pipe = self.connection.client.pipeline(transaction=False)
            for entry in entries:
                pipe.hset(base + keys.CATALOG, f"{entry.queue}\n{entry.name}", json.dumps(asdict(entry)))
                pipe.sadd(base + keys.QUEUES, entry.queue)
                pipe.hset(
                    self._base(entry.queue) + keys.SUFFIXES["meta"],
                    mapping={"lm": entry.limiter[0], "ld": entry.limiter[1]},
                )
            pipe.execute()

    def audit(self, actor: Actor, action: str, queue: str, count: int, detail: str = "", *, act: str = "") -> None:
        """Write down who did what to which queue, and to how many jobs; the last 10,000 entries stay.

        `act` is what `undo` takes for it.
        """
        fields = {**asdict(actor), "action": action, "queue": queue, "count": count, "detail": detail, "act": act}
        with self.connection.guard():
            self.connection.client.xadd(
                keys.shared_base(self.prefix) + keys.AUDIT, fields, maxlen=10_000, approximate=True
            )

    def _base(self, queue: str) -> str:
        return keys.queue_base(self.prefix, queue)

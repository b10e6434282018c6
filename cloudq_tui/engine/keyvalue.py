"""Huey's own storage of results, locks, revocations and counters: plain keys under one instance's name (`space`).

During a job these writes leave in its finish (records.KeyWrite); this is for everything outside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cloudq_tui.engine import keys
from cloudq_tui.engine.connection import Connection


class KeyValueStore:
    """The entries of one Huey instance. Durations in ms. Every method raises QueueUnavailable."""

    def __init__(self, connection: Connection, *, prefix: str, space: str) -> None:
        self._connection = connection
        self._base = keys.space_base(prefix, space)

    def put(self, key: str, value: bytes, ttl: int = 0) -> None:
        with self._connection.guard():
            self._client.set(self._kv(key), value, px=ttl or None)

    def peek(self, wanted: Sequence[str]) -> list[bytes | None]:
        if not wanted:
            return []
        with self._connection.guard():
            return list(self._client.mget([self._kv(key) for key in wanted]))

    def pop(self, key: str) -> bytes | None:
        with self._connection.guard():
            value: bytes | None = self._client.getdel(self._kv(key))
            return value

    def delete(self, key: str) -> bool:
        with self._connection.guard():
            return bool(self._client.delete(self._kv(key)))

    def put_if_empty(self, key: str, value: bytes, ttl: int = 0) -> bool:
        with self._connection.guard():
            return bool(self._client.set(self._kv(key), value, nx=True, px=ttl or None))

    def increment(self, key: str, amount: int = 1) -> int:
        """Counters are apart from the entries, as Huey has them."""
        with self._connection.guard():
            return int(self._client.incrby(self._base + keys.COUNTER + key, amount))

    def delete_counter(self, key: str) -> None:
        with self._connection.guard():
            self._client.delete(self._base + keys.COUNTER + key)

    def items(self) -> dict[str, bytes]:
        """Every entry; a scan, for people and tests."""
        with self._connection.guard():
            names = list(self._names(keys.KV))
            values = self._client.mget(names) if names else []
        skip = len(self._base + keys.KV)
        return {name.decode()[skip:]: value for name, value in zip(names, values, strict=True) if value is not None}

    def count(self) -> int:
        with self._connection.guard():
            return sum(1 for _ in self._names(keys.KV))

    def flush_entries(self) -> None:
        self._flush(keys.KV, keys.CHORD)

    def flush_counters(self) -> None:
        self._flush(keys.COUNTER)

    def chord_results(self, chord: str, *, remove: bool = False) -> list[bytes]:
        """The members' results in the order of their indexes."""
        with self._connection.guard():
            rows = self._client.hgetall(self._base + keys.CHORD + chord)
            if remove:
                self._client.delete(self._base + keys.CHORD + chord)
        return [value for _, value in sorted(rows.items(), key=lambda row: int(row[0]))]

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _kv(self, key: str) -> str:
        return self._base + keys.KV + key

    def _names(self, family: str) -> Iterator[bytes]:
        return iter(self._client.scan_iter(match=self._base.replace("[", "\\[") + family + "*", count=1000))

    def _flush(self, *families: str) -> None:
        with self._connection.guard():
            for family in families:
                for name in list(self._names(family)):
                    self._client.delete(name)

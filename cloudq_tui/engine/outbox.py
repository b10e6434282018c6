"""What follows a job but belongs to another slot: written to its queue's outbox with the finish, then delivered.

The finish stays one fenced script on the queue's own slot. Whatever dies after it, what it promised stands in the
outbox until it was delivered: by the process that finished the job, or by any consumer that sweeps the queue.
Delivery may happen twice, so every part of it says the same thing twice.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cloudq_tui.engine import keys
from cloudq_tui.engine.records import ChordMember, Finish, KeyWrite, NewJob
from cloudq_tui.engine.slots import Call, SlotCalls
from cloudq_tui.errors import CloudqError

PATIENCE = 1.0  # seconds that an entry is left to the process that wrote it
MOST = 100  # entries of one queue that a sweep looks at
_CHORD_TTL = 7 * 24 * 3600 * 1000  # ms; as finish.lua keeps them


@dataclass(frozen=True, slots=True)
class Entry:
    """What one finish leaves for other slots. `space` is the key base of the Huey instance's storage."""

    space: str
    writes: tuple[KeyWrite, ...] = ()
    follow_ups: tuple[NewJob, ...] = ()
    chords: tuple[ChordMember, ...] = ()


def split(finish: Finish, space: str) -> tuple[Finish, bytes | None]:
    """The finish as its own queue's script takes it, and the entry it puts into the outbox, if there is any."""
    away = tuple(job for job in finish.follow_ups if job.queue != finish.queue)
    if not (finish.writes or away or finish.chords):
        return finish, None
    packed = pack(Entry(space, finish.writes, away, finish.chords), f"{finish.id} {finish.token}")
    at_home = tuple(job for job in finish.follow_ups if job.queue == finish.queue)
    return replace(finish, writes=(KeyWrite("", packed),), follow_ups=at_home, chords=()), packed


def pack(entry: Entry, name: str) -> bytes:
    """An entry as JSON; `name` makes it unlike any other."""
    plain = {
        "v": 1,
        "name": name,
        "space": entry.space,
        "writes": [[write.key, _text(write.value), write.ttl] for write in entry.writes],
        "jobs": [_plain_job(job) for job in entry.follow_ups],
        "chords": [
            [member.chord, member.index, member.size, _text(member.value), _plain_job(member.callback)]
            for member in entry.chords
        ],
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def unpack(packed: bytes) -> Entry:
    """The entry. Raises ValueError, KeyError or TypeError for what this version did not write."""
    plain = json.loads(packed)
    return Entry(
        plain["space"],
        tuple(KeyWrite(key, None if value is None else _bytes(value), ttl) for key, value, ttl in plain["writes"]),
        tuple(_job(fields) for fields in plain["jobs"]),
        tuple(
            ChordMember(chord, index, size, _bytes(value), _job(callback))
            for chord, index, size, value, callback in plain["chords"]
        ),
    )


def _plain_job(job: NewJob) -> dict[str, Any]:
    return asdict(job) | {"message": _text(job.message)}


def _job(fields: dict[str, Any]) -> NewJob:
    return NewJob(**{**fields, "message": _bytes(fields["message"])})


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode("ascii")


def _bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


class Outbox:
    """The outboxes of all queues. `add` adds jobs as QueueEngine.add_many does."""

    def __init__(self, slots: SlotCalls, prefix: str, add: Callable[[Iterable[NewJob]], list[bool]]) -> None:
        self._slots = slots
        self._prefix = prefix
        self._add = add
        self._seen: dict[str, dict[bytes, float]] = {}

    def deliver(self, parcels: Sequence[tuple[str, bytes]], *, again: bool = False) -> None:
        """Deliver (queue, entry) pairs and strike them. Raises QueueUnavailable or QueueFull; they then stay.

        `again`: it may have been done before, so that a job which has finished meanwhile is not added afresh.
        """
        if not parcels:
            return
        entries = [unpack(packed) for _, packed in parcels]
        writes = [call for entry in entries for call in self._writes(entry)]
        members = [(entry.space, member) for entry in entries for member in entry.chords]
        gathered = [call for space, member in members for call in _gather(space, member)]
        answers = self._slots.run([*writes, *gathered])[len(writes) :]
        # A set that is whole calls back whoever made it so: the one that did may have died before it could.
        callbacks = [
            replace(member.callback, rerun=False)
            for (_, member), size in zip(members, answers[2::3], strict=True)
            if size == member.size
        ]
        follow_ups = [job for entry in entries for job in entry.follow_ups]
        jobs = [*(replace(job, rerun=False) if again else job for job in follow_ups), *callbacks]
        if jobs:
            self._add(jobs)
        self._slots.run([self._strike(queue, packed) for queue, packed in parcels])

    def leftovers(self, queue: str) -> Call:
        """The call whose answer `sweep` reads."""
        return Call(self._key(queue), ("LRANGE", self._key(queue), 0, MOST - 1))

    def sweep(self, queue: str, found: Sequence[bytes]) -> None:
        """Deliver what was in the outbox a while ago and still is: who wrote it died, or could not reach a node."""
        now, before = time.monotonic(), self._seen.get(queue, {})
        seen = {packed: before.get(packed, now) for packed in found}
        self._seen[queue] = seen
        for packed, since in seen.items():
            if now - since >= PATIENCE:
                try:
                    self.deliver([(queue, packed)], again=True)
                except (CloudqError, ValueError, KeyError, TypeError):
                    continue  # it stays for the next sweep; an entry of a newer version, for a newer worker

    # --- inner ---

    def _key(self, queue: str) -> str:
        return keys.queue_base(self._prefix, queue) + keys.SUFFIXES["outbox"]

    def _strike(self, queue: str, packed: bytes) -> Call:
        return Call(self._key(queue), ("LREM", self._key(queue), 1, packed))

    def _writes(self, entry: Entry) -> Iterable[Call]:
        for write in entry.writes:
            key = entry.space + keys.KV + write.key
            if write.value is None:
                yield Call(key, ("DEL", key))
            else:
                yield Call(key, ("SET", key, write.value, *(("PX", write.ttl) if write.ttl else ())))


def _gather(space: str, member: ChordMember) -> tuple[Call, Call, Call]:
    """Put a member's result down once; the last answer says how many there are."""
    key = space + keys.CHORD + member.chord
    return (
        Call(key, ("HSETNX", key, member.index, member.value)),
        Call(key, ("PEXPIRE", key, _CHORD_TTL)),
        Call(key, ("HLEN", key)),
    )

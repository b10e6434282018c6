"""Doctor: is this installation sound? Server, queues and workers, as plain findings; and their repair, on demand.

Knows what is wrong and how to say it; the looking and the mending are the engine's (engine/examination.py).
"""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cloudq_tui.engine.acts import BUDGET
from cloudq_tui.engine.deployment import examination_for
from cloudq_tui.engine.examination import Examination, Flaw, FlawKind, ServerFacts
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import QueueUnavailable
from cloudq_tui.models.worker import WorkerInfo
from cloudq_tui.settings import Settings

OLDEST_REDIS = (6, 2)
CLOCK_TOLERANCE_MS = 5_000  # more than a beat takes over a slow link
SETTLE = 1.5  # seconds in which a live worker that was told has come; it looks at least every second
_SAMPLES = 3


class Level(enum.StrEnum):
    """`NOTE` is a choice to know of; the others are wrong until repaired."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `queue` is "" for the server and the workers; `repaired` says what was done."""

    level: Level
    queue: str
    text: str
    repaired: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found. `records` is how many jobs were gone through."""

    findings: tuple[Finding, ...]
    records: int = 0

    @property
    def remaining(self) -> tuple[Finding, ...]:
        """What is still wrong."""
        return tuple(one for one in self.findings if one.level is not Level.NOTE and not one.repaired)

    def to_wire(self) -> dict[str, Any]:
        return {
            "healthy": not self.remaining,
            "records": self.records,
            "findings": [asdict(one) for one in self.findings],
        }


@dataclass(slots=True)
class _Tally:
    """The flaws of one kind in one queue: told in one line however many there are."""

    count: int = 0
    samples: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)


_FLAWS: dict[FlawKind, tuple[Level, str]] = {
    FlawKind.ORPHAN: (Level.ERROR, "in a state without a record"),
    FlawKind.STATELESS: (Level.ERROR, "with a record but in no state"),
    FlawKind.TRASHED: (Level.ERROR, "in a state, but in the trash too and about to expire"),
    FlawKind.DOUBLED: (Level.ERROR, "in more than one state"),
    FlawKind.UNLEASED: (Level.ERROR, "active, but leased to nobody"),
    FlawKind.LAPSED: (Level.ERROR, "active on a lease that ran out long ago; no worker sweeps this queue"),
    FlawKind.HELD: (Level.ERROR, "not active, but a worker could still end it"),
    FlawKind.MISPLACED: (Level.WARNING, "waiting in another place than the record says"),
}

_REPAIRS: dict[tuple[FlawKind, str], str] = {
    (FlawKind.ORPHAN, "removed"): "removed",
    (FlawKind.STATELESS, "waiting"): "waiting again",
    (FlawKind.STATELESS, "failed"): "back in failed",
    (FlawKind.STATELESS, "completed"): "back in completed",
    (FlawKind.STATELESS, "dropped"): "dropped, for want of a name or payload",
    (FlawKind.TRASHED, "kept"): "taken out of the trash",
    (FlawKind.UNLEASED, "ended"): "given up; a worker's next sweep lets it wait again",
    (FlawKind.LAPSED, "recovered"): "recovered: waiting again, or failed as stalled",
    (FlawKind.HELD, "freed"): "freed of its token",
    (FlawKind.MISPLACED, "placed"): "written into the record",
}


class Doctor:
    """One examination. `settle` is the seconds between the two looks that a missing wake marker needs."""

    def __init__(
        self,
        engine: QueueEngine,
        reader: QueueReader,
        settings: Settings,
        *,
        examination: Examination | None = None,
        settle: float = SETTLE,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._settings = settings
        self._examination = examination or examination_for(
            engine.connection, prefix=engine.prefix, limiter=engine.limiter
        )
        self._settle = settle
        self._seen: set[tuple[str, str, FlawKind]] = set()
        self._tallies: dict[tuple[str, FlawKind], _Tally] = {}
        self._others: list[Finding] = []
        self._records = 0

    def examine(self, queues: Callable[[], Iterable[str]], *, repair: bool = False) -> Report:
        """Look at everything, and mend what can be mended when `repair`. An unreachable Redis is a finding."""
        server: list[Finding] = []
        away: list[Finding] = []
        try:
            embedded = self._settings.redis.is_embedded
            server = list(server_findings(self._examination.server(), embedded=embedded))
            spoiled = self._examination.spoiled_shared()
            if spoiled:
                return Report((*server, *(Finding(Level.ERROR, "", _spoiled(*one)) for one in spoiled)))
            self._examine_queues(list(queues()), repair)
            server += worker_findings(self._reader.workers(), _own_version())
        except QueueUnavailable as error:
            away = [Finding(Level.ERROR, "", str(error))]
        flaws = [_told(queue, kind, tally) for (queue, kind), tally in self._tallies.items()]
        ordered = sorted(self._others + flaws, key=lambda one: one.queue)
        return Report((*server, *ordered, *away), self._records)

    def repairs(self) -> Iterator[tuple[str, int, str]]:
        """(queue, how many, what) of all that was mended so far, for the audit trail."""
        mended: dict[str, Counter[str]] = {}
        for (queue, kind), tally in self._tallies.items():
            mended.setdefault(queue, Counter())[kind.value] += tally.done.total()
        for one in self._others:
            mended.setdefault(one.queue, Counter())[one.repaired] += bool(one.repaired)
        for queue, kinds in mended.items():
            if kinds.total():
                yield queue, kinds.total(), ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)

    # --- inner ---

    def _examine_queues(self, listed: Iterable[str], repair: bool) -> None:
        sound = {queue: self._states(queue, repair) for queue in listed}
        for queue, ids in self._examination.recorded():
            if queue not in sound:
                self._unlisted(queue, repair)
                sound[queue] = self._states(queue, repair)
            if sound[queue]:
                self._take(self._examination.judge(queue, ids, repair=repair))
            self._records += len(ids)
        self._markers([queue for queue, is_sound in sound.items() if is_sound], repair)

    def _states(self, queue: str, repair: bool) -> bool:
        """False when the queue's own keys are spoiled, and nothing else of it can be looked at."""
        spoiled = self._examination.spoiled(queue)
        self._others += [Finding(Level.ERROR, queue, _spoiled(*one)) for one in spoiled]
        if spoiled:
            return False
        for ids in self._examination.standing(queue):
            self._take(self._examination.judge(queue, ids, repair=repair))
        lapsed = self._tallies.get((queue, FlawKind.LAPSED))
        if lapsed is not None and repair:
            self._recover(queue)
            lapsed.done["recovered"] = lapsed.count
        return True

    def _recover(self, queue: str) -> None:
        """What the next worker's sweep would do, since none came."""
        most = self._settings.worker.max_stalled
        while self._engine.recover([queue], max_stalled=most, budget=BUDGET) >= BUDGET:
            pass

    def _take(self, flaws: Iterable[Flaw]) -> None:
        """Count each flaw once: an id is judged where it stands and again where its record lies."""
        for flaw in flaws:
            key = (flaw.queue, flaw.id, flaw.kind)
            if key in self._seen:
                continue
            self._seen.add(key)
            tally = self._tallies.setdefault((flaw.queue, flaw.kind), _Tally())
            tally.count += 1
            if len(tally.samples) < _SAMPLES:
                tally.samples.append(flaw.id)
            if flaw.done:
                tally.done[flaw.done] += 1

    def _unlisted(self, queue: str, repair: bool) -> None:
        if repair:
            self._examination.list_queue(queue)
        done = "listed" if repair else ""
        self._others.append(Finding(Level.WARNING, queue, "has jobs but is not in the list of queues", done))

    def _markers(self, queues: Iterable[str], repair: bool) -> None:
        """A marker is also gone for the moment between a worker's waking and its claim: hence two looks."""
        suspects = {queue: head for queue in queues if (head := self._examination.unheard(queue))}
        if suspects:
            time.sleep(self._settle)
        for queue, head in suspects.items():
            if self._examination.unheard(queue) == head:
                done = "set" if repair and self._examination.call(queue, head) else ""
                self._others.append(Finding(Level.WARNING, queue, "jobs wait, and no wake marker tells a worker", done))


def _spoiled(key: str, kind: str) -> str:
    return f"key {key} holds a {kind}; no verb works until it is gone"


def _told(queue: str, kind: FlawKind, tally: _Tally) -> Finding:
    level, what = _FLAWS[kind]
    more = ", …" if tally.count > len(tally.samples) else ""
    said = f"{tally.count:,} {'id' if tally.count == 1 else 'ids'} {what} ({', '.join(tally.samples)}{more})"
    parts = [(count, _REPAIRS.get((kind, done), f"kept in {done} only")) for done, count in tally.done.items()]
    done = ", ".join(text if count == tally.count else f"{count:,} {text}" for count, text in parts)
    # What turned up after the repair of its kind is for the next run: told as open, so that there is one.
    return Finding(level, queue, said, done if tally.done.total() == tally.count else "")


def server_findings(server: ServerFacts, *, embedded: bool) -> Iterator[Finding]:
    """What is wrong with the server itself; none of it can be repaired from here."""
    name = f"{server.family} {server.version}"
    number = tuple(int(part) for part in server.version.split(".")[:2] if part.isdigit())
    if server.family == "redis" and number < OLDEST_REDIS:
        yield Finding(Level.ERROR, "", f"{name} is too old; Redis 6.2 or later, or any Valkey, is needed")
    yield from _persistence(server, embedded=embedded)
    for what in server.failing:
        yield Finding(Level.ERROR, "", f"the last {what} failed; see the server's log and its disk")
    if server.full:
        used, most = (f"{octets / 2**20:,.1f} MB" for octets in (server.used_memory, server.max_memory))
        yield Finding(
            Level.ERROR,
            "",
            f"it uses {used} of a maxmemory of {most} and refuses jobs; raise maxmemory or clean queues",
        )
    if server.eviction != "noeviction":
        yield Finding(
            Level.ERROR,
            "",
            f"maxmemory-policy is {server.eviction or 'not told'}: a full Redis throws jobs away; set it to noeviction",
        )


def _persistence(server: ServerFacts, *, embedded: bool) -> Iterator[Finding]:
    if embedded:
        if not server.aof or server.appendfsync != "always":
            shown = f"appendfsync {server.appendfsync or 'not told'}" if server.aof else "no AOF"
            yield Finding(Level.ERROR, "", f"the embedded Redis runs with {shown}; a crash would lose jobs")
    elif server.aof:
        if server.appendfsync == "no":
            yield Finding(Level.NOTE, "", "appendfsync is no: a crash of the host loses what was not synced yet")
    elif server.save is None:
        yield Finding(Level.NOTE, "", "no AOF; whether RDB snapshots are taken, this server does not tell")
    elif server.save:
        yield Finding(Level.NOTE, "", "no AOF, only RDB snapshots: a crash loses jobs since the last one")
    else:
        yield Finding(Level.ERROR, "", "neither AOF nor RDB snapshots: a restart of Redis loses every job")


def _own_version() -> str:
    try:
        return version("cloudq-tui")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return ""


def worker_findings(workers: Iterable[WorkerInfo], ours: str) -> Iterator[Finding]:
    """What is wrong with live workers: another version than `ours`, a clock apart from the server's."""
    for worker in workers:
        who = f"worker {worker.host}:{worker.pid}"
        if ours and worker.version and worker.version != ours:
            yield Finding(Level.WARNING, "", f"{who} runs version {worker.version}, this is {ours}")
        ahead = worker.clock_ahead or 0
        if abs(ahead) > CLOCK_TOLERANCE_MS:
            side = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                Level.WARNING,
                "",
                f"the clock of {who} is {abs(ahead) / 1000:,.0f} s {side} Redis'; periodic jobs come at wrong times",
            )

"""What a job has done to files over all its runs, kept in its checkpoint.

A file that is gone cannot be counted again, so what is about to be removed is announced before, with what it will
count as; the next run of a killed job looks which of it had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudq_tui.errors import PermanentFailure
from cloudq_tui.models.context import JobContext

Entry = dict[str, Any]
SHOWN = 50
"""Outcomes named in a checkpoint and a result; all are counted."""


@dataclass(slots=True)
class Tally:
    """How many files, how many bytes before and after, and the first of them by name."""

    files: int = 0
    before: int = 0
    after: int = 0
    shown: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.files += 1
        self.before += entry["before"]
        self.after += entry.get("after", 0)
        if len(self.shown) < SHOWN:
            self.shown.append({key: value for key, value in entry.items() if key != "inode"})

    def plain(self) -> dict[str, Any]:
        return {"files": self.files, "before": self.before, "after": self.after, "shown": self.shown}


class Ledger:
    """`happened(entry)` tells whether an announced removal took place."""

    def __init__(self, job: JobContext, happened: Callable[[Entry], bool]) -> None:
        stored = job.last_checkpoint
        known: dict[str, Any] = stored if isinstance(stored, dict) else {}
        self._job = job
        self.done = Tally(**known.get("done", {}))
        for entry in known.get("announced", []):
            if happened(entry):
                self.done.add(entry)

    def announce(self, entries: Sequence[Entry]) -> None:
        """Store what is removed next. Raises LeaseLost when the job is somebody else's: then nothing may go."""
        self._job.checkpoint({"done": self.done.plain(), "announced": list(entries)})

    def settle(self, entry: Entry) -> None:
        """It is gone."""
        self.done.add(entry)

    def close(self) -> None:
        """Nothing is announced any more."""
        self._job.checkpoint({"done": self.done.plain()})


class Stayed:
    """The files that one run leaves as they are, and why; the first of them by name."""

    def __init__(self, *, skipped: int = 0) -> None:
        self.skipped = skipped
        self.failed = 0
        self.bytes = 0
        self.outcomes: list[Entry] = []
        self._why = ""

    def skip(self, path: str, size: int, reason: str) -> None:
        self.skipped += 1
        self._note(path, size, "skipped", reason)

    def fail(self, path: str, size: int, reason: str) -> None:
        self.failed += 1
        self._why = self._why or reason
        self._note(path, size, "failed", reason)

    def give_up_unless(self, done: int, what: str) -> None:
        """Raises PermanentFailure with the first failure's reason when files failed and none is done."""
        if self.failed and not done:
            raise PermanentFailure(f"none of {self.failed} files {what}: {self._why}")

    def _note(self, path: str, size: int, status: str, reason: str) -> None:
        self.bytes += size
        if len(self.outcomes) < SHOWN:
            self.outcomes.append({"status": status, "path": path, "reason": reason})

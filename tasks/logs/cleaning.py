"""Decides which files go: all that is too old, then the oldest until the rest is small enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.clients.log_search import FoundFile

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Condemned:
    """A file that goes, and the rule that says so."""

    file: FoundFile
    rule: Literal["age", "size"]


def condemned(
    files: Sequence[FoundFile], *, now: int, older_than: int | None, max_total_bytes: int | None
) -> list[Condemned]:
    """Oldest first. `now` in nanoseconds, `older_than` in seconds; None switches a rule off."""
    oldest_first = sorted(files, key=lambda file: (file.written, file.path))
    going: list[Condemned] = []
    kept = sum(file.size for file in files)
    for file in oldest_first:
        if older_than is not None and now - file.written > older_than * _NANOSECONDS:
            going.append(Condemned(file, "age"))
        elif max_total_bytes is not None and kept > max_total_bytes:
            going.append(Condemned(file, "size"))
        else:
            break
        kept -= file.size
    return going

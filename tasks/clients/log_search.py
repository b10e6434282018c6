"""Finds files by patterns inside the roots, following no link below a pattern's fixed beginning."""

from __future__ import annotations

import fcntl
import fnmatch
import os
import re
import signal
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloudq_tui.errors import PermanentFailure
from tasks.clients.rooted_files import OpenFolder, RootedFiles, is_partial

_MAGIC = re.compile(r"[*?\[]")
_ANY_DEPTH = "**"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A plain file as it was when found. `written` in nanoseconds since the epoch."""

    path: Path
    size: int
    written: int
    inode: int

    def is_still(self, now: os.stat_result | None) -> bool:
        """Whether `now` shows the same file, not written to since."""
        if now is None or not stat.S_ISREG(now.st_mode):
            return False
        return (now.st_ino, now.st_size, now.st_mtime_ns) == (self.inode, self.size, self.written)


class LogSearch:
    """The files that patterns name; at most `max_files` for one job. `overlooked` counts what was left out, by why."""

    def __init__(self, files: RootedFiles, *, max_files: int) -> None:
        self._files = files
        self._max_files = max_files
        self.overlooked: Counter[str] = Counter()

    def find(self, patterns: Sequence[str], check: Callable[[], None]) -> list[FoundFile]:
        """All files, each once, by their paths. `check` is called for each folder.

        Raises PermanentFailure for a pattern that leads outside the roots, or when there are too many files.
        """
        found: dict[Path, FoundFile] = {}
        for pattern in patterns:
            for one in self._matching(pattern, check):
                found[one.path] = one
                if len(found) > self._max_files:
                    raise PermanentFailure(f"more than {self._max_files} files (logs.max_files) match")
        return [found[path] for path in sorted(found)]

    def _matching(self, pattern: str, check: Callable[[], None]) -> Iterator[FoundFile]:
        parts = [part for part in pattern.split("/") if part and part != "."]
        fixed = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
        bases = [Path("/")] if pattern.startswith("/") else (list(self._files.roots) or [Path("/")])
        for base in bases:
            folder = self._files.resolve(str(base.joinpath(*parts[: max(0, fixed)])))
            yield from self._walk(folder, tuple(parts[max(0, fixed) :]), check)

    def _walk(self, top: Path, parts: tuple[str, ...], check: Callable[[], None]) -> Iterator[FoundFile]:
        """What `parts` match below `top`. A folder that cannot be read has no files."""
        waiting = [(top, parts)] if parts else []
        seen = set(waiting)
        while waiting:
            check()
            path, rest = waiting.pop()
            try:
                with self._files.folder(path) as folder:
                    inner, files = _step(folder, rest)
            except OSError as error:
                self.overlooked[f"a folder: {error.strerror}"] += 1
                continue
            # Half a character, or an end of line, could not be told in a result.
            shown = [file for file in files if str(file.path).isprintable()]
            if len(shown) < len(files):
                self.overlooked["a name that cannot be shown"] += len(files) - len(shown)
            yield from shown
            new = [step for step in inner if step not in seen]
            seen.update(new)
            waiting.extend(new)


def _step(folder: OpenFolder, parts: tuple[str, ...]) -> tuple[list[tuple[Path, tuple[str, ...]]], list[FoundFile]]:
    """Where to go on from one folder, with which parts of the pattern, and the files that end it here."""
    first, rest = parts[0], parts[1:]
    inner: list[tuple[Path, tuple[str, ...]]] = []
    files: list[FoundFile] = []
    if first == _ANY_DEPTH and rest:
        inner.append((folder.path, rest))
    for name, entry in folder.entries():
        if not _fits(name, first):
            continue
        path = folder.path / name
        if stat.S_ISDIR(entry.st_mode):
            if first == _ANY_DEPTH:
                inner.append((path, parts))
            elif rest:
                inner.append((path, rest))
        elif stat.S_ISREG(entry.st_mode) and not rest:
            files.append(FoundFile(path, entry.st_size, entry.st_mtime_ns, entry.st_ino))
    return inner, files


def _fits(name: str, pattern: str) -> bool:
    if name.startswith(".") and (not pattern.startswith(".") or is_partial(name)):
        return False
    return pattern in {_ANY_DEPTH, name} or fnmatch.fnmatchcase(name, pattern)


def open_for_writing(file: BinaryIO) -> bool:
    """Whether any process has the file open for writing, where the system tells: Linux refuses a read lease then.

    False where nobody can know: another system, a file of another user, a file system without leases.
    """
    set_lease, set_signal = getattr(fcntl, "F_SETLEASE", None), getattr(fcntl, "F_SETSIG", None)
    if set_lease is None or set_signal is None:
        return False
    try:
        # A lease that breaks in the instant it is held sends SIGIO, which would end the worker; SIGURG is ignored.
        fcntl.fcntl(file, set_signal, signal.SIGURG)
        fcntl.fcntl(file, set_lease, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(file, set_lease, fcntl.F_UNLCK)
    return False

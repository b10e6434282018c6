"""The queue log-processing: archive-logs, clean-logs and analyze-logs.

Steps: find 5, then `N of M` up to 95, done 100. A killed archive-logs or clean-logs goes on with the files that are
left and counts what the runs before did; analyze-logs only reads and starts again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from cloudq_tui.errors import PermanentFailure
from cloudq_tui.models.context import JobContext
from tasks.clients.compression import BadArchive, decompressing, kind_of
from tasks.clients.log_search import FoundFile, LogSearch, open_for_writing
from tasks.clients.rooted_files import OpenFolder, RootedFiles, told
from tasks.logs.archive import Archived, Archivist, Skipped
from tasks.logs.cleaning import Condemned, condemned
from tasks.logs.formats import Clock, Parser, parser_for, recognised
from tasks.logs.ledger import Entry, Ledger, Stayed, Tally
from tasks.logs.progress import FileProgress
from tasks.logs.reading import LineReader
from tasks.logs.statistics import Statistics
from tasks.payloads.log_processing import AnalyzeLogs, ArchiveLogs, CleanLogs, LogFiles

_NANOSECONDS = 1_000_000_000
_SAMPLE = 50  # lines that tell a file's format
_AT_ONCE = 100  # removals announced in one checkpoint


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set of the settings: patterns, and the format of the files."""

    paths: tuple[str, ...]
    format: str = "auto"


@dataclass(frozen=True, slots=True)
class LogRules:
    """What the settings say of logs. `zone` is that of times that name none."""

    sets: dict[str, NamedSet]
    max_files: int
    max_unpacked: int
    zone: tzinfo

    def patterns(self, payload: LogFiles) -> Sequence[str]:
        """Raises PermanentFailure for a set that the settings do not name."""
        if payload.set_ is None:
            return payload.paths or ()
        return self._set(payload.set_).paths

    def format_of(self, payload: AnalyzeLogs) -> str:
        if payload.policy.format is not None or payload.set_ is None:
            return payload.policy.format or "auto"
        return self._set(payload.set_).format

    def _set(self, name: str) -> NamedSet:
        if name not in self.sets:
            raise PermanentFailure(f"logs.sets has no set {name!r}")
        return self.sets[name]


def archive_logs(payload: ArchiveLogs, job: JobContext, *, files: RootedFiles, rules: LogRules) -> dict[str, Any]:
    """Compress files, verify the archives, remove the originals."""
    policy = payload.policy
    found = _find(payload, job, files, rules)
    old = [one for one in found if time.time_ns() - one.written >= policy.older_than * _NANOSECONDS]
    ledger = Ledger(job, lambda entry: not _still_there(files, entry))
    progress = FileProgress(job, len(old), 2 * sum(one.size for one in old))
    archivist = Archivist(policy.compression, policy.level, progress.advance)
    stayed = Stayed(skipped=len(found) - len(old))
    swept: set[Path] = set()
    for one in old:
        progress.next_file()
        try:
            with _at(one, "archived"), files.folder(one.path.parent) as folder:
                if one.path.parent not in swept:
                    folder.sweep()
                    swept.add(one.path.parent)
                _archive(one, folder, archivist, ledger)
        except Skipped as reason:
            stayed.skip(str(one.path), one.size, str(reason))
        except (PermanentFailure, BadArchive) as error:
            stayed.fail(str(one.path), one.size, str(error))
    ledger.close()
    done = ledger.done
    stayed.give_up_unless(done.files, "was archived")
    progress.end()
    return {
        "archived": done.files,
        "skipped": stayed.skipped,
        "failed": stayed.failed,
        "bytesBefore": done.before,
        "bytesAfter": done.after,
        "outcomes": [*({"status": "archived", **entry} for entry in done.shown), *stayed.outcomes],
    }


def clean_logs(payload: CleanLogs, job: JobContext, *, files: RootedFiles, rules: LogRules) -> dict[str, Any]:
    """Remove files by age and total size; a dry run says what would go."""
    policy = payload.policy
    found = _find(payload, job, files, rules)
    going = condemned(found, now=time.time_ns(), older_than=policy.older_than, max_total_bytes=policy.max_total_bytes)
    progress = FileProgress(job, len(going), len(going))
    stayed, done = Stayed(), Tally()
    if policy.dry_run:
        for one in going:
            done.add(_entry(one.file, one.rule))
    else:
        ledger = Ledger(job, lambda entry: not _still_there(files, entry))
        for start in range(0, len(going), _AT_ONCE):
            _remove(going[start : start + _AT_ONCE], files, ledger, stayed, progress)
        ledger.close()
        done = ledger.done
        stayed.give_up_unless(done.files, "was removed")
    progress.end()
    gone = sum(one.file.size for one in going) - stayed.bytes
    return {
        "dryRun": policy.dry_run,
        "removed": done.files,
        "freedBytes": done.before,
        "kept": len(found) - len(going) + stayed.skipped + stayed.failed,
        "keptBytes": sum(one.size for one in found) - gone,
        "failed": stayed.failed,
        "outcomes": [
            *({"status": "would go" if policy.dry_run else "removed", **entry} for entry in done.shown),
            *stayed.outcomes,
        ],
    }


def analyze_logs(payload: AnalyzeLogs, job: JobContext, *, files: RootedFiles, rules: LogRules) -> dict[str, Any]:
    """Count levels, messages and lines per minute; the result names no variable part of a message."""
    found = _find(payload, job, files, rules)
    progress = FileProgress(job, len(found), sum(one.size for one in found))
    count = _Count(rules.format_of(payload), rules, progress)
    stayed = Stayed()
    for one in found:
        progress.next_file()
        try:
            with _at(one, "read"), files.folder(one.path.parent) as folder:
                count.add(one, folder)
        except Skipped as reason:
            stayed.skip(str(one.path), one.size, str(reason))
        except (PermanentFailure, BadArchive) as error:
            stayed.fail(str(one.path), one.size, str(error))
    stayed.give_up_unless(len(found) - stayed.failed - stayed.skipped, "could be read")
    progress.end()
    return {
        "files": len(found),
        "skipped": stayed.skipped,
        "failed": stayed.failed,
        **count.plain(),
        **count.statistics.plain(payload.policy.top),
        "outcomes": stayed.outcomes,
    }


class _Count:
    """Counts the lines of one file after the other."""

    def __init__(self, wanted: str, rules: LogRules, progress: FileProgress) -> None:
        self._wanted = wanted
        self._rules = rules
        self._progress = progress
        self._clock = Clock(rules.zone)
        self._formats: dict[str, int] = {}
        self._bytes = self._lines_cut = self._files_cut = 0
        self.statistics = Statistics()

    def add(self, one: FoundFile, folder: OpenFolder) -> None:
        """Raises OSError or BadArchive; what was read until then is counted."""
        kind = kind_of(one.path.name)
        with folder.open(one.path.name) as file:
            # A plain file that grows while it is read ends where it ended when it was opened.
            most = self._rules.max_unpacked if kind else os.fstat(file.fileno()).st_size + 1
            look = self._progress.following(file.tell)
            with decompressing(file, kind) as reader:
                lines = LineReader(reader, most=most, advance=look)
                try:
                    self._count(lines, datetime.fromtimestamp(one.written / _NANOSECONDS, self._rules.zone).year)
                finally:
                    self._bytes += lines.bytes
                    self._lines_cut += lines.cut
                    self._files_cut += lines.stopped

    def plain(self) -> dict[str, Any]:
        return {
            "bytes": self._bytes,
            "formats": self._formats,
            "linesCut": self._lines_cut,
            "filesCut": self._files_cut,
        }

    def _count(self, lines: LineReader, year: int) -> None:
        parse: Parser | None = None
        add = self.statistics.add
        for piece in lines.pieces():
            if parse is None:
                name = recognised(piece[:_SAMPLE]) if self._wanted == "auto" else self._wanted
                self._formats[name] = self._formats.get(name, 0) + 1
                parse = parser_for(name, self._clock, year)
            for line in piece:
                if line and not line.isspace():
                    add(parse(line))


def _archive(one: FoundFile, folder: OpenFolder, archivist: Archivist, ledger: Ledger) -> None:
    entry = _entry(one)

    def announce(archived: Archived) -> None:
        entry.update(archive=str(one.path.with_name(archived.name)), after=archived.size)
        ledger.announce([entry])

    archivist.archive(folder, one, announce)
    ledger.settle(entry)


def _remove(
    batch: Sequence[Condemned], files: RootedFiles, ledger: Ledger, stayed: Stayed, progress: FileProgress
) -> None:
    ledger.announce([_entry(one.file, one.rule) for one in batch])
    for one in batch:
        progress.next_file()
        progress.advance(1)
        path, size = one.file.path, one.file.size
        try:
            with _at(one.file, "removed"), files.folder(path.parent) as folder:
                if not one.file.is_still(folder.entry(path.name)):
                    stayed.skip(str(path), size, "has changed since it was found")
                elif _in_use(folder, path.name):
                    stayed.skip(str(path), size, "is open for writing")
                else:
                    folder.remove(path.name)
                    ledger.settle(_entry(one.file, one.rule))
        except Skipped as reason:
            stayed.skip(str(path), size, str(reason))
        except PermanentFailure as error:
            stayed.fail(str(path), size, str(error))


def _in_use(folder: OpenFolder, name: str) -> bool:
    """Whether somebody writes to the file: its space would not come free, and lines would be lost."""
    try:
        with folder.open(name) as file:
            return open_for_writing(file)
    except OSError:
        return False


def _find(payload: LogFiles, job: JobContext, files: RootedFiles, rules: LogRules) -> list[FoundFile]:
    job.update_progress(5, "find")
    search = LogSearch(files, max_files=rules.max_files)
    found = search.find(rules.patterns(payload), job.check)
    job.log(f"{len(found)} files, {sum(one.size for one in found)} bytes")
    for why, count in search.overlooked.items():
        job.log(f"{count} left out: {why}")
    return found


@contextmanager
def _at(one: FoundFile, done: str) -> Iterator[None]:
    """Raises Skipped for a file that somebody else took away meanwhile, else what `told` makes of the fault."""
    with told(f"{one.path.name} cannot be {done}"):
        try:
            yield
        except FileNotFoundError:
            raise Skipped("is gone") from None


def _entry(one: FoundFile, rule: str = "") -> Entry:
    entry: Entry = {"path": str(one.path), "before": one.size, "inode": one.inode}
    return entry | {"rule": rule} if rule else entry


def _still_there(files: RootedFiles, entry: Entry) -> bool:
    """Whether an announced file was not removed; another of its name does not count."""
    path = Path(entry["path"])
    try:
        with files.folder(path.parent) as folder:
            there = folder.entry(path.name)
    except OSError:
        return False
    return there is not None and there.st_ino == entry["inode"]

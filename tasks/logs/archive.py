"""Archives one file: compressed beside itself, read back, compared, and only then removed."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from cloudq_tui.errors import PermanentFailure
from tasks.clients.compression import SUFFIXES, BadArchive, Reader, compressing, decompressing
from tasks.clients.log_search import FoundFile, open_for_writing
from tasks.clients.rooted_files import NewFile, OpenFolder

_PIECE = 1 << 20
_PACKED = (".gz", ".zst", ".xz", ".bz2", ".zip", ".lz4", ".br", ".7z")
_MOST_NUMBERS = 1000


class Skipped(Exception):
    """The file stays as it is; the message says why."""


class Advance(Protocol):
    """Told how many bytes were read; raises when the job is to end."""

    def __call__(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Archived:
    """The archive of one file, and its size."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Archivist:
    """Makes archives of one kind. `advance` is called with every piece, twice for each byte of the original."""

    kind: str
    level: int | None
    advance: Advance

    def archive(self, folder: OpenFolder, found: FoundFile, announce: Callable[[Archived], None]) -> Archived:
        """Archive `found` and remove it. `announce` is called when nothing but the removal is left to do.

        Raises Skipped when the file is to stay, OSError and BadArchive when it could not be archived.
        """
        name = found.path.name
        if name.endswith(_PACKED):
            raise Skipped("is compressed already")
        with folder.open(name) as original:
            if not found.is_still(os.fstat(original.fileno())):
                raise Skipped("has changed since it was found")
            if open_for_writing(original):
                raise Skipped("is open for writing")
            archived = self._existing(folder, found, original) or self._make(folder, found, original)
            if open_for_writing(original) or not found.is_still(folder.entry(name)):
                folder.remove(archived.name)
                raise Skipped("was written to meanwhile")
            announce(archived)
            folder.remove(name)
            folder.sync()
        return archived

    def _existing(self, folder: OpenFolder, found: FoundFile, original: BinaryIO) -> Archived | None:
        """The archive that a run made which died before it removed the original; it carries the original's time."""
        digest = ""
        for name in self._names(found.path.name):
            entry = folder.entry(name)
            if entry is None:
                return None
            if not stat.S_ISREG(entry.st_mode) or entry.st_mtime_ns != found.written:
                continue
            digest = digest or self._digest(original, found.size)
            with suppress(BadArchive), folder.open(name) as packed, decompressing(packed, self.kind) as unpacked:
                if self._digest(unpacked, found.size + 1) == digest:
                    return Archived(name, entry.st_size)
        return None

    def _make(self, folder: OpenFolder, found: FoundFile, original: BinaryIO) -> Archived:
        before = os.fstat(original.fileno())
        with folder.new(0o600) as new:
            digest = self._compress(original, found.size, new.file, before.st_mtime)
            new.sync()
            new.file.seek(0)
            with decompressing(new.file, self.kind) as unpacked:
                if self._digest(unpacked, found.size + 1) != digest:
                    raise BadArchive("what was read back is not what was written")
            if not found.is_still(os.fstat(original.fileno())):
                raise Skipped("was written to meanwhile")
            _dress(new.file, before)
            return Archived(self._publish(new, found.path.name), os.fstat(new.file.fileno()).st_size)

    def _compress(self, original: BinaryIO, size: int, into: BinaryIO, written_at: float) -> str:
        """Not beyond `size`: a file that grows as fast as it is read would have no end."""
        digest, left = hashlib.sha256(), size
        original.seek(0)
        with compressing(into, self.kind, self.level, written_at) as packed:
            while piece := original.read(min(_PIECE, left)):
                digest.update(piece)
                packed.write(piece)
                left -= len(piece)
                self.advance(len(piece))
        return digest.hexdigest()

    def _digest(self, reader: Reader, most: int) -> str:
        """Of the first `most` bytes."""
        digest = hashlib.sha256()
        while piece := reader.read(min(_PIECE, most)):
            digest.update(piece)
            most -= len(piece)
            self.advance(len(piece))
        return digest.hexdigest()

    def _publish(self, new: NewFile, name: str) -> str:
        for candidate in self._names(name):
            with suppress(FileExistsError):
                new.add(candidate)
                return candidate
        raise PermanentFailure(f"{_MOST_NUMBERS} archives of that name are there already")

    def _names(self, name: str) -> Iterator[str]:
        """app.log.gz, app.log.1.gz, app.log.2.gz, ..."""
        suffix = SUFFIXES[self.kind]
        yield name + suffix
        for number in itertools.islice(itertools.count(1), _MOST_NUMBERS):
            yield f"{name}.{number}{suffix}"


def _dress(file: BinaryIO, like: os.stat_result) -> None:
    """Owner, permissions and time of the original: who may not read a log may not read its archive."""
    descriptor = file.fileno()
    try:
        os.fchown(descriptor, like.st_uid, like.st_gid)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EINVAL}:
            raise
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode) & 0o777)
    os.utime(descriptor, ns=(like.st_mtime_ns, like.st_mtime_ns))

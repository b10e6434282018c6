"""Where the parts of an APK are: its entries, the signing block, the central directory and the end record.

Readers of ZIP files disagree about crooked ones, and what one checks another would run; so only a file that all of
them read alike is accepted.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tasks.apk.errors import BadApk

_END = struct.Struct("<4s4H2IH")
_LOCAL = struct.Struct("<4s2xHH4xIII4x")
_SIZES_FOLLOW = 8  # a flag: the header has no sizes, they come after the data
_MAGIC = b"APK Sig Block 42"
_MOST_BLOCK = 32 * 1024**2
_MOST_DIRECTORY = 64 * 1024**2
CHUNK = 1024**2


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes. `block` is where the signing block starts: at the directory when there is none."""

    block: int
    directory: int
    end: int
    size: int
    pairs: dict[int, bytes]


def read_layout(file: BinaryIO) -> Layout:
    """Find the parts. Raises BadApk."""
    size = file.seek(0, 2)
    end, directory, entries = _end_record(file, size)
    _check_directory(file, directory, end, entries)
    file.seek(0)
    if file.read(4) != b"PK\3\4":
        raise BadApk("it does not begin with a ZIP entry")
    block, pairs = _signing_block(file, directory)
    return Layout(block, directory, end, size, pairs)


def _end_record(file: BinaryIO, size: int) -> tuple[int, int, int]:
    start = max(0, size - _END.size - 0xFFFF)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise BadApk("it is no ZIP file")
    _, disk, first, here, entries, length, offset, comment = _END.unpack_from(tail, at)
    end = start + at
    if end + _END.size + comment != size:
        raise BadApk("its end record is ambiguous")
    if 0xFFFFFFFF in {length, offset} or entries == 0xFFFF or tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
        raise BadApk("it is a ZIP64 file")
    if disk or first or here != entries or offset + length != end:
        raise BadApk("its central directory does not end at its end record")
    return end, offset, entries


def _check_directory(file: BinaryIO, start: int, end: int, entries: int) -> None:
    """Raises BadApk unless it lists as many entries as the end record says: some readers go by that number."""
    if end - start > _MOST_DIRECTORY:
        raise BadApk("its central directory is too large")
    file.seek(start)
    directory = file.read(end - start)
    at = found = 0
    while at + 46 <= len(directory) and directory.startswith(b"PK\1\2", at):
        at += 46 + sum(struct.unpack_from("<3H", directory, at + 28))
        found += 1
    if at != len(directory) or found != entries:
        raise BadApk("its central directory is not what its end record says")


def _signing_block(file: BinaryIO, directory: int) -> tuple[int, dict[int, bytes]]:
    if directory < 32:
        return directory, {}
    file.seek(directory - 24)
    footer = file.read(24)
    if footer[8:] != _MAGIC:
        return directory, {}
    (size,) = struct.unpack_from("<Q", footer)
    start = directory - size - 8
    if not 24 <= size <= _MOST_BLOCK or start < 0:
        raise BadApk("its signing block has a wrong size")
    file.seek(start)
    block = file.read(size + 8)
    if struct.unpack_from("<Q", block)[0] != size:
        raise BadApk("the sizes of its signing block disagree")
    pairs: dict[int, bytes] = {}
    at, last = 8, len(block) - 24
    while at < last:
        if at + 12 > last:
            raise BadApk("its signing block is cut short")
        length, kind = struct.unpack_from("<QI", block, at)
        if length < 4 or at + 8 + length > last:
            raise BadApk("its signing block is cut short")
        if kind in pairs:
            raise BadApk("its signing block has two parts of one kind")
        pairs[kind] = block[at + 12 : at + 8 + length]
        at += 8 + length
    return start, pairs


def open_entries(file: BinaryIO) -> zipfile.ZipFile:
    """The entries, each name once. Raises BadApk."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, UnicodeError) as error:
        raise BadApk(f"its entries cannot be listed: {error}") from None
    entries = archive.infolist()
    if any(one.filename != one.orig_filename for one in entries):
        raise BadApk("an entry has two names")  # cut at a NUL, or another one in an extra field
    if len({one.filename for one in entries}) != len(entries):
        raise BadApk("it has two entries of one name")
    if any(one.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} for one in entries):
        raise BadApk("an entry is packed in a way that Android does not know")
    return archive


def check_headers(file: BinaryIO, entries: Iterable[zipfile.ZipInfo]) -> None:
    """Raises BadApk when an entry's own header says something else of it than the directory does."""
    for one in entries:
        file.seek(one.header_offset)
        header = file.read(_LOCAL.size).ljust(_LOCAL.size, b"\0")
        magic, flags, method, *numbers = _LOCAL.unpack(header)
        if (
            magic != b"PK\3\4"
            or method != one.compress_type
            or (flags ^ one.flag_bits) & _SIZES_FOLLOW
            or not (flags & _SIZES_FOLLOW or numbers == [one.CRC, one.compress_size, one.file_size])
        ):
            raise BadApk(f"the headers of an entry disagree: {one.filename[:100]}")


def read_entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of one entry, at most `most`. Raises BadApk when it is missing, larger or damaged."""
    found = b"".join(entry_chunks(archive, name, most))
    if len(found) > most:
        raise BadApk(f"{name} is larger than {most} bytes")
    return found


def entry_chunks(archive: zipfile.ZipFile, name: str, most: int) -> Iterator[bytes]:
    """The bytes of one entry in chunks; ends soon after `most`. Raises BadApk."""
    seen = 0
    try:
        with archive.open(name) as entry:
            while seen <= most and (chunk := entry.read(min(CHUNK, most + 1 - seen))):
                seen += len(chunk)
                yield chunk
    except KeyError:
        raise BadApk(f"it has no {name}") from None
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        raise BadApk(f"{name} cannot be read: {error}") from None
    except Exception as error:
        if type(error).__module__ in {"zlib", "lzma", "bz2"}:
            raise BadApk(f"{name} cannot be unpacked") from None
        raise
    if seen <= most and seen != archive.getinfo(name).file_size:
        raise BadApk(f"{name} is not as long as it says")

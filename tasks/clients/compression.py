"""gzip and zstd as streams over open files, both with a checksum of what they hold."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
_LEVELS = {"gzip": 6, "zstd": 3}
_KINDS = {".gz": "gzip", ".zst": "zstd"}
_SIP = 512  # bytes of zstd taken at once: each four of them may stand for 128 kB
_BUFFER = 1 << 17


class BadArchive(Exception):
    """The compressed file is damaged or cut off."""


class Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def kind_of(name: str) -> str | None:
    """gzip, zstd, or None for a name that does not end like either."""
    return next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), None)


@contextmanager
def compressing(file: BinaryIO, kind: str, level: int | None, written_at: float) -> Iterator[Writer]:
    """What is written leaves compressed through `file`, which stays open; the same bytes give the same file."""
    chosen = level or _LEVELS[kind]
    if kind == "gzip":
        with gzip.GzipFile("", "wb", chosen, file, mtime=int(written_at)) as packed:
            yield packed
        return
    with zstandard.ZstdCompressor(level=chosen, write_checksum=True).stream_writer(file, closefd=False) as packer:
        yield packer


@contextmanager
def decompressing(file: BinaryIO, kind: str | None) -> Iterator[Reader]:
    """Reads through `file`, which stays open; as it is without a kind. Raises BadArchive."""
    try:
        if kind == "gzip":
            with gzip.GzipFile("", "rb", fileobj=file) as unpacked:
                yield unpacked
        elif kind == "zstd":
            yield io.BufferedReader(_ZstdFile(file), _BUFFER)
        else:
            yield file
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError, zlib.error) as error:
        raise BadArchive(str(error) or type(error).__name__) from error


class _ZstdFile(io.RawIOBase):
    """What the frames of a file hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._pieces = _unpacked(file)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer)
        if not self._left:
            self._left = memoryview(next(filter(None, self._pieces), b""))
        size = min(len(room), len(self._left))
        room[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Raises EOFError where a frame is cut off; the library's own reader takes that for its end."""
    packed = file.read(_SIP)
    while packed:
        frame = zstandard.ZstdDecompressor().decompressobj()
        while not frame.eof:
            if not packed:
                raise EOFError("the file ends within a zstd frame")
            yield frame.decompress(packed)
            packed = frame.unused_data or file.read(_SIP)

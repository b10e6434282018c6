"""gzip and zstd as streams over open files, both with a checksum of what they hold."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import zstandard

SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
_LEVELS = {"gzip": 6, "zstd": 3}
_KINDS = {".gz": "gzip", ".zst": "zstd"}


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
            unpacker = zstandard.ZstdDecompressor()
            with unpacker.stream_reader(file, read_across_frames=True, closefd=False) as stream:
                yield stream
        else:
            yield file
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError, zlib.error) as error:
        raise BadArchive(str(error) or type(error).__name__) from error

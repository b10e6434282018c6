"""Lines of a file of any size, in pieces that stay small."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator

from tasks.clients.compression import Reader

_PIECE = 1 << 20
_NUL = b"\0"  # a log that was cut under its writer begins with any number of them, and so does one after a power cut
LONGEST_LINE = 1 << 16
"""Characters of one line that are looked at; a file without line ends must not fill the memory."""


class LineReader:
    """Reads at most `most` bytes. `advance` is called for each piece; `cut` counts lines that were too long."""

    def __init__(self, reader: Reader, *, most: int, advance: Callable[[], None]) -> None:
        self._reader = reader
        self._most = most
        self._advance = advance
        self.cut = 0
        self.bytes = 0
        self.stopped = False

    def pieces(self) -> Iterator[list[str]]:
        """The lines, without their ends, some at a time."""
        rest, skipping = b"", False
        while piece := self._reader.read(_PIECE):
            self._advance()
            text = piece if self.bytes else piece.removeprefix(BOM_UTF8)
            self.bytes += len(piece)
            head, end, tail = (rest + text).rpartition(b"\n")
            if end:
                lines = head.split(b"\n")
                yield self._told(lines[1:] if skipping else lines)
                skipping = False
            rest = tail.lstrip(_NUL)
            if skipping:
                rest = b""
            elif len(rest) > LONGEST_LINE:
                yield self._told([rest])
                rest, skipping = b"", True
            if self.bytes >= self._most:
                self.stopped = True
                break
        if rest:
            yield self._told([rest])

    def _told(self, lines: list[bytes]) -> list[str]:
        told = []
        for whole in lines:
            line = whole.strip(_NUL)
            if len(line) > LONGEST_LINE:
                self.cut += 1
            told.append(line[:LONGEST_LINE].decode("utf-8", "replace").rstrip("\r"))
        return told

"""Writes rows to CSV, JSON Lines and XLSX files, a batch at a time; Parquet has a module of its own.

What a writer holds in memory does not grow with the rows. Values keep their digits: decimals are text where the
format has no decimal, times carry their zone, bytes are base64.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import decimal
import gzip
import io
import json
import math
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import xlsxwriter
import zstandard

from cloudq_tui.errors import PermanentFailure
from tasks.clients.output_folder import OutputFile

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a spreadsheet read text as a formula (OWASP, CSV injection), and their wide forms."""

XLSX_ROWS = 1_048_576
XLSX_COLUMNS = 16_384
XLSX_TEXT = 32_767
_EXACT = 2**53


class TableFile(Protocol):
    """One file of rows. `close` completes it; `abandon` gives back what an incomplete one holds."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line per type
    """A value as JSON has it: None, bool, int, float, text, or lists and objects of these."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def as_text(value: Any) -> str:
    """A value as one cell of text; NULL is empty."""
    if isinstance(value, str):
        return _encodable(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | decimal.Decimal):
        return str(value)
    if isinstance(value, dict | list | tuple):
        return _encodable(json.dumps(plain(value), ensure_ascii=False))
    return str(plain(value))


def _encodable(text: str) -> str:
    """JSON may hold halves of a surrogate pair, which no file can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class _Compressed:
    """The stream below csv and jsonl; closing it ends the compression, never the file itself."""

    def __init__(self, file: BinaryIO, compression: str | None) -> None:
        self._inner: Any = None
        self._file = file
        if compression == "gzip":
            # No name and no time inside: the same rows give the same bytes.
            self._inner = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        elif compression == "zstd":
            self._inner = zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False)

    def write(self, data: bytes) -> None:
        (self._inner or self._file).write(data)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()


class CsvFile:
    """RFC 4180 in UTF-8, with a header."""

    def __init__(self, file: BinaryIO, columns: Sequence[str], *, compression: str | None, neutralise: bool) -> None:
        self._out = _Compressed(file, compression)
        self._neutralise = neutralise
        self.write([columns])

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows([self._cell(value) for value in row] for row in rows)
        self._out.write(buffer.getvalue().encode("utf-8", "replace"))

    def _cell(self, value: Any) -> str:
        text = as_text(value)
        # Numbers keep their sign: only text can hide a formula.
        number = isinstance(value, int | float | decimal.Decimal | dt.timedelta)
        return "'" + text if self._neutralise and not number and text.startswith(FORMULA_STARTS) else text

    def close(self) -> None:
        self._out.close()

    def abandon(self) -> None:
        """Holds nothing but the caller's file."""


class JsonLinesFile:
    """One object a line; decimals are strings, so that no digit is lost."""

    def __init__(self, file: BinaryIO, columns: Sequence[str], *, compression: str | None) -> None:
        self._out = _Compressed(file, compression)
        self._columns = columns

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        lines = [json.dumps(dict(zip(self._columns, map(plain, row), strict=True)), ensure_ascii=False) for row in rows]
        self._out.write("".join(line + "\n" for line in lines).encode("utf-8", "replace"))

    def close(self) -> None:
        self._out.close()

    def abandon(self) -> None:
        """Holds nothing but the caller's file."""


class XlsxFile:
    """A workbook; when a sheet is full the rows go on in the next one, under the same header."""

    def __init__(self, output: OutputFile, columns: Sequence[str], *, neutralise: bool) -> None:
        if len(columns) > XLSX_COLUMNS:
            raise PermanentFailure(f"xlsx takes {XLSX_COLUMNS} columns, the query has {len(columns)}")
        self._columns = columns
        self._book = xlsxwriter.Workbook(
            output.file,
            {"constant_memory": True, "tmpdir": str(output.scratch()), "use_zip64": True},
        )
        # The mark that Excel itself sets for text typed with a leading ': the text stays as it is.
        self._text = self._book.add_format({"quote_prefix": True}) if neutralise else None
        self._bold = self._book.add_format({"bold": True, "quote_prefix": neutralise})
        self._date = self._book.add_format({"num_format": "yyyy-mm-dd"})
        self._time = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._sheets = 0
        self._new_sheet()

    def _new_sheet(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet("export" if self._sheets == 1 else f"export {self._sheets}")
        for index, column in enumerate(self._columns):
            self._sheet.write_string(0, index, column[:XLSX_TEXT], self._bold)
        self._sheet.freeze_panes(1, 0)
        self._row = 1

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            if self._row >= XLSX_ROWS:
                self._new_sheet()
            for index, value in enumerate(row):
                if value is not None:
                    self._cell(index, value)
            self._row += 1

    def _cell(self, index: int, value: Any) -> None:
        row, sheet = self._row, self._sheet
        if isinstance(value, bool):
            sheet.write_boolean(row, index, value)
        elif isinstance(value, int | float) and abs(value) <= _EXACT:
            sheet.write_number(row, index, value)
        elif isinstance(value, dt.datetime) and value.tzinfo is None and value.year >= 1900:
            sheet.write_datetime(row, index, value, self._time)
        elif isinstance(value, dt.date) and not isinstance(value, dt.datetime) and value.year >= 1900:
            sheet.write_datetime(row, index, value, self._date)
        else:
            self._string(index, as_text(value))

    def _string(self, index: int, text: str) -> None:
        if len(text) > XLSX_TEXT:
            where = f"column {self._columns[index]!r}, row {self._row} of sheet {self._sheets}"
            raise PermanentFailure(f"xlsx takes {XLSX_TEXT} characters a cell, {where} has {len(text)}: use csv")
        mark = self._text if text.startswith(FORMULA_STARTS) else None
        self._sheet.write_string(self._row, index, text, mark)

    def close(self) -> None:
        self._book.close()

    def abandon(self) -> None:
        """Close the sheets' temporary files, and keep the book's destructor from writing a workbook after all."""
        self._book.fileclosed = True
        for sheet in self._book.worksheets():
            sheet.row_data_fh.close()

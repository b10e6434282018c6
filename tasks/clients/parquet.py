"""Writes rows to a Parquet file of unknown types, in flat memory.

A column's type is learned from its values and from what the database says. When a later value does not fit (SQLite
lets any value into any column), the type becomes a wider one and what was written is rewritten, row group by row
group, which happens a few times at most.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.clients.output_folder import OutputFile
from tasks.clients.table_files import as_text

_GROUP_ROWS = 65_536
_GROUP_BYTES = 16 << 20
_EXACT = 2**53


class Kind(enum.Enum):
    """What a column holds; the value is its Arrow type."""

    NOTHING = pa.null()
    BOOL = pa.bool_()
    INTEGER = pa.int64()
    FLOAT = pa.float64()
    DECIMAL = pa.decimal128(38, 18)
    WIDE_DECIMAL = pa.decimal256(76, 38)
    DATE = pa.date32()
    TIME = pa.time64("us")
    TIMESTAMP = pa.timestamp("us")
    INSTANT = pa.timestamp("us", tz="UTC")
    DURATION = pa.duration("us")
    BINARY = pa.binary()
    TEXT = pa.string()


_WIDER: dict[frozenset[Kind], Kind] = {
    frozenset({Kind.INTEGER, Kind.FLOAT}): Kind.FLOAT,
    frozenset({Kind.INTEGER, Kind.DECIMAL}): Kind.DECIMAL,
    frozenset({Kind.INTEGER, Kind.WIDE_DECIMAL}): Kind.WIDE_DECIMAL,
    frozenset({Kind.DECIMAL, Kind.WIDE_DECIMAL}): Kind.WIDE_DECIMAL,
    frozenset({Kind.DATE, Kind.TIMESTAMP}): Kind.TIMESTAMP,
}

_BY_TYPE: dict[type, Kind] = {
    type(None): Kind.NOTHING,
    bool: Kind.BOOL,
    float: Kind.FLOAT,
    dt.date: Kind.DATE,
    dt.time: Kind.TIME,
    dt.timedelta: Kind.DURATION,
    bytes: Kind.BINARY,
    bytearray: Kind.BINARY,
    memoryview: Kind.BINARY,
    str: Kind.TEXT,
}


def join(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds both."""
    if one is other or other is Kind.NOTHING:
        return one
    if one is Kind.NOTHING:
        return other
    return _WIDER.get(frozenset({one, other}), Kind.TEXT)


def kind_of(value: Any) -> Kind:
    """The narrowest kind that holds the value."""
    kind = type(value)
    if kind is int:
        return Kind.INTEGER if -(2**63) <= value < 2**63 else _decimal_kind(decimal.Decimal(value))
    if kind is decimal.Decimal:
        return _decimal_kind(value)
    if kind is dt.datetime:
        return Kind.TIMESTAMP if value.tzinfo is None else Kind.INSTANT
    if kind is dt.time and value.tzinfo is not None:
        return Kind.TEXT
    return _BY_TYPE.get(kind, Kind.TEXT)


def _decimal_kind(value: decimal.Decimal) -> Kind:
    if not value.is_finite():
        return Kind.TEXT
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    whole = len(digits) + int(exponent)
    if scale <= 18 and whole <= 20:
        return Kind.DECIMAL
    return Kind.WIDE_DECIMAL if scale <= 38 and whole <= 38 else Kind.TEXT


def _text(value: Any) -> str:
    if isinstance(value, decimal.Decimal) and value.is_finite():
        # Read back from a file it carries the zeros of the column's scale.
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return as_text(value)


def _moment(value: Any) -> dt.datetime:
    return value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())


_CONVERT: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: _text,
    Kind.BINARY: bytes,
    Kind.FLOAT: float,
    Kind.TIMESTAMP: _moment,
    Kind.DECIMAL: decimal.Decimal,
    Kind.WIDE_DECIMAL: decimal.Decimal,
}


class _Column:
    """One column: what it may hold by now."""

    def __init__(self, hint: type | None) -> None:
        sample = {int: Kind.INTEGER, decimal.Decimal: Kind.DECIMAL} | _BY_TYPE
        self.kind = sample.get(hint, Kind.NOTHING) if hint is not None else Kind.NOTHING
        self._large = False

    def learn(self, values: Iterable[Any]) -> None:
        for value in values:
            found = kind_of(value)
            self._large = self._large or (found is Kind.INTEGER and abs(value) > _EXACT)
            if found is not self.kind:
                self.kind = join(self.kind, found)
        if self.kind is Kind.FLOAT and self._large:
            self.kind = Kind.TEXT  # a float would round the large integers

    def array(self, values: Sequence[Any]) -> pa.Array:
        convert = _CONVERT.get(self.kind)
        if convert is not None:
            values = [None if value is None else convert(value) for value in values]
        return pa.array(values, type=self.kind.value)


class ParquetFile:
    """One Parquet file; `compression` is the columns' codec."""

    def __init__(
        self,
        output: OutputFile,
        columns: Sequence[str],
        *,
        compression: str | None,
        types: Sequence[type | None] = (),
    ) -> None:
        self._output = output
        self._names = list(columns)
        hints = types or [None] * len(columns)
        self._columns = [_Column(hint) for hint in hints]
        self._codec = compression or "none"
        self._writer: pq.ParquetWriter | None = None
        self._written: list[Kind] = []
        self._pending: list[list[Any]] = [[] for _ in columns]
        self._bytes = 0

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        for column, pending, found in zip(self._columns, self._pending, zip(*rows, strict=True), strict=True):
            # Documents at once as the text they become: only text can be weighed.
            values = [as_text(value) if isinstance(value, dict | list | tuple) else value for value in found]
            column.learn(values)
            pending.extend(values)
            self._bytes += sum(len(value) for value in values if isinstance(value, str | bytes))
        if self._pending and (len(self._pending[0]) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES):
            self._flush()

    def close(self) -> None:
        if self._writer is None or (self._pending and self._pending[0]):
            self._flush()
        self._end()

    def abandon(self) -> None:
        """Close the writer; what it wrote is worth nothing."""
        self._end()

    def _flush(self) -> None:
        kinds = [column.kind for column in self._columns]
        if self._writer is not None and kinds != self._written:
            self._rewrite()
        self._put(self._pending)
        self._pending = [[] for _ in self._names]
        self._bytes = 0

    def _put(self, columns: Sequence[Sequence[Any]]) -> None:
        arrays = [column.array(values) for column, values in zip(self._columns, columns, strict=True)]
        table = pa.Table.from_arrays(arrays, names=self._names)
        if self._writer is None:
            self._written = [column.kind for column in self._columns]
            self._writer = pq.ParquetWriter(self._output.file, table.schema, compression=self._codec)
        self._writer.write_table(table)

    def _rewrite(self) -> None:
        """What is in the file already, under the types that hold what comes now."""
        self._end()
        before = self._output.scratch() / "narrower.parquet"
        self._output.file.seek(0)
        with before.open("wb") as copy:
            shutil.copyfileobj(self._output.file, copy, 1 << 20)
        self._output.file.seek(0)
        self._output.file.truncate()
        with pq.ParquetFile(before) as narrower:
            for group in range(narrower.num_row_groups):
                table = narrower.read_row_group(group)
                self._put([table.column(index).to_pylist() for index in range(table.num_columns)])
        before.unlink()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

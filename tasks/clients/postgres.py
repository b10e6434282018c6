"""What reading from PostgreSQL by psycopg needs beyond SQLAlchemy: the types of columns, and times without a limit."""

from __future__ import annotations

import datetime as dt
import decimal
from functools import cache
from typing import Any

from psycopg import DataError
from psycopg.abc import AdaptContext, Buffer
from psycopg.abc import Loader as AnyLoader
from psycopg.adapt import Loader
from psycopg.pq import Format

TYPES: dict[int, type] = {
    16: bool,
    17: bytes,
    20: int,
    21: int,
    23: int,
    25: str,
    700: float,
    701: float,
    1042: str,
    1043: str,
    1082: dt.date,
    1083: dt.time,
    1700: decimal.Decimal,
}
"""By the OIDs of PostgreSQL's pg_type; timestamps are told by their values, which have a zone or not."""

ENCODING = "utf8"
"""Of what the server sends. A database without one (SQL_ASCII) would send bytes in the place of text."""

OPTIONS = "-c datestyle=ISO -c intervalstyle=postgres"
"""The forms of times that psycopg reads, whatever a role or a database prefers."""

_TIMES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")


def read_all_times(connection: Any, _record: Any) -> None:
    """Have `connection` give as text what Python's times cannot hold: infinity, 24:00, years before 1 or after 9999."""
    adapters = connection.adapters
    for name in _TIMES:
        known = adapters.get_loader(adapters.types[name].oid, Format.TEXT)
        adapters.register_loader(name, _or_text(known))


@cache
def _or_text(known: type[AnyLoader]) -> type[Loader]:
    class OrText(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._known = known(oid, context)

        def load(self, data: Buffer) -> Any:
            try:
                return self._known.load(data)
            except DataError:
                return bytes(data).decode()

    return OrText

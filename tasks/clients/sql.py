"""Databases by SQLAlchemy: one read-only session per job, rows streamed by a server-side cursor.

Every wait is watched, so that it ends with the job's time and with its cancellation. What a database says of an error
is passed on without statement and values.
"""

from __future__ import annotations

import datetime as dt
import decimal
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.clients import postgres
from tasks.clients.named_query import NamedQuery
from tasks.clients.watchdog import Attempt, Watchdog
from tasks.contacts import peer_words

# SQLSTATE classes after which trying again can help: connection, rollback, resources, operator, system, locks.
_PASSING = ("08", "25P03", "40", "53", "55P03", "57", "58")
# libpq tells a refused login by words alone.
_LOGIN_WORDS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")
# What drivers raise for values that Python has no place for: text of another encoding, JSON a thousand levels deep.
_UNREADABLE = (ValueError, NotImplementedError, RecursionError)
_SQLITE_PASSING = ("locked", "busy", "disk i/o error", "interrupted")

_BATCH_SIZE = 8 << 20  # characters of one batch, or what a job holds would grow with the width of its rows
_SAMPLE = 16  # rows that tell how wide the next ones may be


@dataclass(frozen=True, slots=True)
class SqlSource:
    """One database. `name` is what errors call it, for its URL holds what is nobody's business."""

    name: str
    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    statement_timeout: float = 300.0
    read_only: bool = True

    @contextmanager
    def open(self, job: JobContext) -> Iterator[SqlSession]:
        """A session of the job's own. Raises PermanentFailure or TemporaryFailure."""
        url = self._parsed()
        limit = min(self.connect_timeout, job.time_remaining)
        engine = self._engine(url, limit)
        try:
            with self._told():
                attempt = Attempt(engine.connect, discard=sa.Connection.close)
                connection = attempt.result(job, limit, f"source {self.name}: connecting")
            session = SqlSession(self, connection, job)
            with closing(connection):
                try:
                    yield session
                except BaseException:
                    session.break_off()
                    raise
        finally:
            engine.dispose()

    def _parsed(self) -> sa.URL:
        try:
            url = sa.make_url(self.url)
        except exc.ArgumentError:
            raise PermanentFailure(f"source {self.name}: the url in the settings cannot be read") from None
        if self.password is not None:
            url = url.set(password=self.password)
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        return url

    def _engine(self, url: sa.URL, limit: float) -> sa.Engine:
        backend = url.get_backend_name()
        arguments: dict[str, Any] = {}
        if url.drivername == "postgresql+psycopg":
            options = f"{postgres.OPTIONS} -c statement_timeout={max(1, round(self.statement_timeout * 1000))}"
            if self.read_only:
                options += " -c default_transaction_read_only=on"
            inherited = url.query.get("options")
            arguments = {"connect_timeout": max(2, int(limit)), "options": f"{inherited or ''} {options}".strip()}
            arguments["client_encoding"] = url.query.get("client_encoding", postgres.ENCODING)
        elif backend == "sqlite":
            self._require_file(url)
            arguments = {"timeout": limit, "check_same_thread": False}
        elif url.drivername in {"mysql+pymysql", "mariadb+pymysql"}:
            arguments = {"connect_timeout": max(1, int(limit)), "read_timeout": max(1, int(self.statement_timeout))}
        try:
            engine = sa.create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
        except (exc.ArgumentError, ImportError) as error:
            raise PermanentFailure(f"source {self.name}: no driver for {url.drivername}: {error}") from None
        sa.event.listen(engine, "handle_error", _close_cursor)
        if url.drivername == "postgresql+psycopg":
            sa.event.listen(engine, "connect", postgres.read_all_times)
        if self.read_only and backend in _READ_ONLY:
            sa.event.listen(engine, "connect", _read_only(_READ_ONLY[backend]))
        return engine

    def _require_file(self, url: sa.URL) -> None:
        """SQLite would make an empty database where there is none."""
        plain = url.database and url.database != ":memory:" and not url.database.startswith("file:")
        if plain and not Path(str(url.database)).is_file():
            raise PermanentFailure(f"source {self.name}: the database file is not there")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns the driver's errors into ours."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._verdict(error) from None
        except _UNREADABLE as error:
            raise PermanentFailure(f"source {self.name}: cannot be read: {peer_words(str(error))}") from None

    def _verdict(self, error: exc.SQLAlchemyError) -> PermanentFailure | TemporaryFailure:
        original = getattr(error, "orig", None) or error
        words = next(iter(str(original).strip().splitlines()), "") or type(original).__name__
        text = f"source {self.name}: {peer_words(words)}"
        state = str(getattr(original, "sqlstate", None) or "")
        if state == "57014":
            return TemporaryFailure(f"timeout: {text}")
        if state:
            passing = state.startswith(_PASSING)
        elif type(original).__module__.startswith("sqlite3"):
            passing = any(word in words.lower() for word in _SQLITE_PASSING)
        else:
            lasting = any(word in words for word in _LOGIN_WORDS)
            passing = isinstance(error, exc.OperationalError | exc.InterfaceError) and not lasting
        if not passing:
            return PermanentFailure(text)
        return TemporaryFailure(f"timeout: {text}" if "timeout" in words else text)


class SqlSession:
    """One connection of one job."""

    def __init__(self, source: SqlSource, connection: sa.Connection, job: JobContext) -> None:
        self._source = source
        self._connection = connection
        self._job = job
        driver = connection.connection.driver_connection
        self._watch = Watchdog(job, ask=lambda: _ask(driver), cut=lambda: _cut(driver))

    def break_off(self) -> None:
        """End the conversation without a further word: a rollback amid a query would fail, or wait, and hide why."""
        with suppress(Exception):
            self._watch.give_up()
            self._connection.invalidate()

    def count(self, query: NamedQuery, values: Mapping[str, Any]) -> int:
        """How many rows the query has now."""
        # On lines of its own: it may end in a comment.
        counted = f"SELECT count(*) FROM (\n{query.sql.strip().rstrip(';')}\n) AS counted"  # noqa: S608 - the settings' own
        with self._guarded("counting the rows"):
            found = self._connection.execute(self._statement(query, counted), self._adapted(values)).scalar()
        return int(found or 0)

    @contextmanager
    def rows(self, query: NamedQuery, values: Mapping[str, Any], *, size: int) -> Iterator[Rows]:
        """The rows of the query, at most `size` at a time, and fewer of wide ones; never more of them in memory."""
        streaming = self._connection.execution_options(stream_results=True, max_row_buffer=size)
        with self._guarded("the first rows"):
            result = streaming.execute(self._statement(query, query.sql), self._adapted(values))
        if not result.returns_rows:
            raise PermanentFailure("the query returns no rows: it must be a SELECT")
        try:
            yield Rows(_distinct(result.keys()), self._types(result), self._batches(result, size))
        finally:
            # Closing talks to the server once more, which may be the one that has gone silent.
            with suppress(Exception), self._watch.over(self._source.connect_timeout, "closing the query"):
                result.close()

    def _types(self, result: sa.CursorResult[Any]) -> tuple[type | None, ...]:
        """What the database says of its columns; None where it does not."""
        described = getattr(result.cursor, "description", None)
        if self._connection.dialect.driver != "psycopg" or not described:
            return (None,) * len(result.keys())
        return tuple(postgres.TYPES.get(column.type_code) for column in described)

    def _batches(self, result: sa.CursorResult[Any], size: int) -> Iterator[Sequence[Sequence[Any]]]:
        rows = min(size, _SAMPLE)
        while True:
            with self._guarded("the next rows"):
                batch = result.fetchmany(rows)
            if not batch:
                return
            yield batch
            rows = max(1, min(size, _BATCH_SIZE // _width(batch)))

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        # A second on top: the database's own timeout is kinder and should come first.
        limit = self._source.statement_timeout + 1
        with self._watch.over(limit, f"source {self._source.name}: {what}"), self._source._told():  # noqa: SLF001
            yield

    def _statement(self, query: NamedQuery, sql: str) -> sa.TextClause:
        many: list[sa.BindParameter[Any]] = [
            sa.bindparam(name, expanding=True) for name, param in query.params.items() if param.many
        ]
        return sa.text(sql).bindparams(*many)

    def _adapted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """SQLite knows no dates and no decimals; its driver's own conversion is deprecated."""
        if self._connection.dialect.name != "sqlite":
            return dict(values)
        return {name: _for_sqlite(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns of a result, their types where the database tells, and the rows, batch by batch."""

    columns: tuple[str, ...]
    types: tuple[type | None, ...]
    batches: Iterator[Sequence[Sequence[Any]]]


_READ_ONLY = {"sqlite": "PRAGMA query_only=ON", "mysql": "SET SESSION TRANSACTION READ ONLY"}
_READ_ONLY["mariadb"] = _READ_ONLY["mysql"]


def _read_only(statement: str) -> Any:
    def refuse_writes(connection: Any, _record: Any) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute(statement)

    return refuse_writes


def _width(batch: Sequence[Sequence[Any]]) -> int:
    """About how many characters a row of the batch has, by some of them."""
    some = batch[:: max(1, len(batch) // _SAMPLE)]
    sizes = (len(value if isinstance(value, str | bytes) else str(value)) for row in some for value in row)
    return max(1, sum(sizes) // len(some))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The columns' names; one that came before gets a number, or an object or a template would lose its values."""
    names = list(names)
    found: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in found or (number > 1 and candidate in names):
            number += 1
            candidate = f"{name}_{number}"
        found[candidate] = None
    return tuple(found)


def _close_cursor(context: sa.ExceptionContext) -> None:
    """SQLAlchemy leaves the cursor of a broken connection open, and psycopg warns of it."""
    ran = context.execution_context
    if context.is_disconnect and ran is not None:
        with suppress(Exception):
            ran.cursor.close()


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, list):
        return [_for_sqlite(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, dt.date):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value


def _ask(driver: Any) -> None:
    """Request the end of the running query: sqlite3, then psycopg."""
    if hasattr(driver, "interrupt"):
        driver.interrupt()
    elif hasattr(driver, "cancel_safe"):
        driver.cancel_safe(timeout=1.0)


def _cut(driver: Any) -> None:
    """End the conversation: whoever waits for an answer on this socket gets an end of file."""
    if hasattr(driver, "fileno"):
        with socket.socket(fileno=os.dup(driver.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
    elif hasattr(driver, "_sock"):
        driver._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - PyMySQL offers no other way

"""Exports from a real PostgreSQL; skipped where none is installed, but not in CI.

The server is a cluster of this test's own, on a unix socket in a folder of its own. Its big form (5 million rows):

    CLOUDQ_FULL=1 .venv/bin/pytest tests/processors/test_data_export_postgres.py -k memory
"""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import psycopg
import pyarrow.parquet as pq
import pytest

from cloudq_tui.errors import Cancelled, PermanentFailure, TemporaryFailure
from tasks.clients import table_files
from tasks.clients.named_query import NamedQuery, QueryParam
from tasks.clients.output_folder import OutputFolder
from tasks.clients.sql import SqlSource
from tasks.clients.sql_sources import SqlSources
from tasks.payloads import ExportData
from tasks.processors.data_export import ExportRules, export_data

pytestmark = pytest.mark.xdist_group("postgres")

FULL = bool(os.environ.get("CLOUDQ_FULL"))
SERIES = "SELECT i, 'row ' || i AS t, i / 7.0 AS d, now() AS at FROM generate_series(1, :n) AS i"
OTHERS = "FROM pg_stat_activity WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
QUERIES = {
    "series": NamedQuery(SERIES, {"n": QueryParam("integer")}, estimate=1000),
    "kinds": NamedQuery("SELECT * FROM kinds ORDER BY id"),
    "since": NamedQuery(
        "SELECT id FROM kinds WHERE at >= :at AND amount > :least AND id IN :ids",
        {"at": QueryParam("datetime"), "least": QueryParam("decimal"), "ids": QueryParam("integer", many=True)},
    ),
    "none": NamedQuery("SELECT * FROM kinds WHERE false"),
    "sleep": NamedQuery("SELECT pg_sleep(60)"),
    "stall": NamedQuery("SELECT i, repeat('x', 2000) AS t FROM generate_series(1, 100000) AS i"),
    "writes": NamedQuery("SELECT nextval('numbers')"),
    "deletes": NamedQuery("DELETE FROM kinds RETURNING id"),
    "wrong": NamedQuery("SELECT no_such_column FROM kinds WHERE secret = 'x'"),
    "times": NamedQuery(
        "SELECT 'infinity'::date AS day, '-infinity'::timestamptz AS at, '20000-01-01'::timestamp AS local,"
        " '0044-03-15 BC'::date AS ides, time '24:00' AS midnight"
        " UNION ALL SELECT '2026-01-02', '2026-01-02 03:04:05+00', '2026-01-02', '2026-01-02', '12:00'"
    ),
    "division": NamedQuery("SELECT 1 / 0 AS x"),
    "styled": NamedQuery(
        "SELECT '2026-02-01'::date AS day, '2026-02-01 03:04:05+00'::timestamptz AS at, '90 seconds'::interval AS took"
    ),
    "halves": NamedQuery("""SELECT '"\\ud800"'::json AS text, '{"a": "\\udc00 é"}'::json AS doc"""),
    "deep": NamedQuery("SELECT (repeat('[', 3000) || repeat(']', 3000))::jsonb AS x"),
}


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL: CI must install Debian's postgresql")
        pytest.skip("no PostgreSQL here (apt-get install postgresql)")
    return found[-1].parent if found else Path(str(on_path)).parent


class Postgres:
    """One cluster: `url` by its unix socket, `port` on loopback, one login each with and without password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # PostgreSQL refuses to run as root.
        self.user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None
        self._binaries = _binaries()
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)

    @property
    def url(self) -> str:
        return f"postgresql://cloudq@/postgres?host={self.folder}&port={self.port}"

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        ids: dict[str, Any] = (
            {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        )
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **ids)

    def create(self) -> None:
        binary = str(self._binaries / "initdb")
        options = ["-D", "data", "-U", "cloudq", "--no-sync", "-E", "UTF8", "--locale=C", "-A", "trust"]
        done = self._run(binary, *options)
        assert done.wait(60) == 0, (self.folder / "log").read_text()
        rules = "local all all trust\nhost all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        (self.folder / "data" / "pg_hba.conf").write_text(rules)

    def start(self) -> None:
        options = ["fsync=off", f"unix_socket_directories={self.folder}", f"port={self.port}", "max_connections=20"]
        arguments = [part for option in (*options, "listen_addresses=127.0.0.1") for part in ("-c", option)]
        self.process = self._run(str(self._binaries / "postgres"), "-D", "data", *arguments)
        deadline = time.monotonic() + 30
        while True:
            with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL did not answer within 30 s"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(2)  # fast: sessions are ended
            self.process.wait(20)
            self.process = None

    def execute(self, sql: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not pytest's folder, whose parents only its owner may enter; short, since socket paths end at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cq-pg-") as folder:
        server = Postgres(Path(folder))
        server.create()
        try:
            server.start()
            server.execute(
                "CREATE TABLE kinds (id int, amount numeric(12, 2), free numeric, big bigint, ok boolean, day date,"
                " local timestamp, at timestamptz, took interval, raw bytea, doc jsonb, tags text[], uid uuid,"
                " f float8); CREATE SEQUENCE numbers;"
                "INSERT INTO kinds VALUES (1, 12.50, 1.123456789012345678, 9007199254740993, true, '2026-01-02',"
                " '2026-01-02 03:04:05.6', '2026-01-02 03:04:05+02', '90 seconds', '\\x00ff', '{\"a\": [1, 2]}',"
                " '{x,y}', '12345678-1234-5678-1234-567812345678', 0.1);"
                "INSERT INTO kinds (id) VALUES (2);"
                "CREATE ROLE locked LOGIN PASSWORD 'p4ss'; GRANT SELECT ON kinds TO locked;"
                "CREATE ROLE styled LOGIN; ALTER ROLE styled SET datestyle = 'SQL, DMY';"
                "ALTER ROLE styled SET intervalstyle = 'iso_8601'; ALTER ROLE styled SET timezone = 'UTC';"
            )
            server.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0")
            yield server
        finally:
            server.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
def export(postgres: Postgres, root: Path, job: Any) -> Callable[..., Any]:
    def run(query: str, format_: str = "csv", *, url: str | None = None, fetch_size: int = 1000, **more: Any) -> Any:
        payload = {"source": "shop", "query": query, "format": format_, "params": more.pop("params", None)}
        payload |= {"compression": more.pop("compression", None)}
        sources = SqlSources({"shop": QUERIES}, lambda name: SqlSource(name, url or postgres.url, **more))
        return export_data(
            ExportData.model_validate(payload),
            job,
            sources=sources,
            folder=OutputFolder(root, setting="exports.root"),
            rules=ExportRules(fetch_size=fetch_size),
        )

    return run


def test_every_kind_to_csv_and_json(export: Any, root: Path) -> None:
    export("kinds")
    with (root / "shop-kinds-job-1.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][:8] == [
        "1",
        "12.50",
        "1.123456789012345678",
        "9007199254740993",
        "true",
        "2026-01-02",
        "2026-01-02T03:04:05.600000",
        rows[1][7],
    ]
    assert dt.datetime.fromisoformat(rows[1][7]) == dt.datetime(2026, 1, 2, 1, 4, 5, tzinfo=dt.UTC)
    assert rows[1][8:] == [
        "90.0",
        "AP8=",
        '{"a": [1, 2]}',
        '["x", "y"]',
        "12345678-1234-5678-1234-567812345678",
        "0.1",
    ]
    assert rows[2] == ["2", *[""] * 13]


def test_json_lines_keep_digits(export: Any, root: Path) -> None:
    export("kinds", "jsonl", compression="gzip")
    first = json.loads(gzip.decompress((root / "shop-kinds-job-1.jsonl.gz").read_bytes()).splitlines()[0])
    assert (first["amount"], first["free"], first["big"]) == ("12.50", "1.123456789012345678", 9007199254740993)
    assert (first["doc"], first["tags"], first["took"]) == ({"a": [1, 2]}, ["x", "y"], 90.0)


def test_parquet_has_the_databases_types(export: Any, root: Path) -> None:
    export("kinds", "parquet")
    table = pq.read_table(root / "shop-kinds-job-1.parquet")
    types = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    assert types == {
        "id": "int64",
        "amount": "decimal128(38, 18)",
        "free": "decimal128(38, 18)",
        "big": "int64",
        "ok": "bool",
        "day": "date32[day]",
        "local": "timestamp[us]",
        "at": "timestamp[us, tz=UTC]",
        "took": "duration[us]",
        "raw": "binary",
        "doc": "string",
        "tags": "string",
        "uid": "string",
        "f": "double",
    }
    first = table.to_pylist()[0]
    assert (first["free"], first["big"]) == (decimal.Decimal("1.123456789012345678"), 9007199254740993)
    assert first["at"] == dt.datetime(2026, 1, 2, 1, 4, 5, tzinfo=dt.UTC)


def test_no_rows_keep_their_types(export: Any, root: Path) -> None:
    assert export("none", "parquet")["rows"] == 0
    schema = pq.read_schema(root / "shop-none-job-1.parquet")
    assert [str(schema.field(name).type) for name in ("id", "free", "day", "raw")] == [
        "int64",
        "decimal128(38, 18)",
        "date32[day]",
        "binary",
    ]


def test_times_beyond_pythons_are_text(export: Any, root: Path) -> None:
    done = export("times", "jsonl")
    beyond, within = map(json.loads, (root / done["file"]).read_text().splitlines())
    assert list(beyond.values()) == ["infinity", "-infinity", "20000-01-01 00:00:00", "0044-03-15 BC", "24:00:00"]
    assert (within["day"], within["midnight"]) == ("2026-01-02", "12:00:00")
    done = export("times", "parquet")
    assert pq.read_table(root / done["file"])["day"].to_pylist() == ["infinity", "2026-01-02"]


def test_times_are_read_whatever_style_a_role_prefers(export: Any, root: Path, postgres: Postgres) -> None:
    done = export("styled", "jsonl", url=postgres.url.replace("cloudq@", "styled@"))
    seen = json.loads((root / done["file"]).read_text())
    assert seen == {"day": "2026-02-01", "at": "2026-02-01T03:04:05+00:00", "took": 90.0}


def test_a_database_without_an_encoding(export: Any, root: Path, postgres: Postgres) -> None:
    """What initdb makes where the locale is C."""
    done = export("styled", url=postgres.url.replace("/postgres", "/plain"))
    assert (root / done["file"]).read_text().startswith("day,at,took\n2026-02-01,")


@pytest.mark.parametrize("format_", ["csv", "jsonl", "xlsx", "parquet"])
def test_half_a_letter_in_json_is_a_question_mark(export: Any, root: Path, format_: str) -> None:
    file = root / export("halves", format_)["file"]
    if format_ == "xlsx":
        values = [cell.value for cell in openpyxl.load_workbook(file)["export"][2]]
    elif format_ == "parquet":
        values = list(pq.read_table(file).to_pylist()[0].values())
    elif format_ == "jsonl":
        values = list(json.loads(file.read_text()).values())
    else:
        values = list(csv.reader(file.read_text().splitlines()))[1]
    assert values[0] == "?"
    assert values[1] in ({"a": "? é"}, '{"a": "? é"}')


def test_a_value_that_python_cannot_hold_fails_in_words(export: Any) -> None:
    with pytest.raises(PermanentFailure, match="source shop: cannot be read: maximum recursion depth exceeded"):
        export("deep")


def test_values_are_bound(export: Any) -> None:
    params = {"at": "2026-01-01T00:00:00+00:00", "least": "12.49", "ids": [1, 2]}
    assert export("since", params=params)["rows"] == 1


def test_xlsx(export: Any) -> None:
    assert export("kinds", "xlsx")["rows"] == 2


def test_rows_come_by_a_cursor_on_the_server(export: Any, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    write, cursors = table_files.CsvFile.write, []

    def look(self: Any, rows: Any) -> None:
        cursors.append(postgres.execute("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'"))
        write(self, rows)

    monkeypatch.setattr(table_files.CsvFile, "write", look)
    assert export("series", params={"n": 10_000})["rows"] == 10_000
    assert len(cursors) == 12, "the header, the first few rows, and a thousand at a time"
    assert all(query.startswith("FETCH FORWARD") for rows in cursors[1:] for (query,) in rows), cursors
    assert all(len(rows) == 1 for rows in cursors[1:])


def test_a_source_is_read_only(export: Any) -> None:
    with pytest.raises(PermanentFailure, match=r"cannot execute nextval\(\) in a read-only transaction"):
        export("writes")
    with pytest.raises(PermanentFailure, match="syntax error"):
        export("deletes")


@pytest.mark.parametrize(
    ("query", "words"), [("wrong", 'column "no_such_column" does not exist'), ("division", "division by zero")]
)
def test_what_cannot_work_fails_at_once(export: Any, query: str, words: str) -> None:
    with pytest.raises(PermanentFailure) as raised:
        export(query)
    assert str(raised.value) == f"source shop: {words}"


def test_the_password_comes_beside_the_url(export: Any, postgres: Postgres) -> None:
    url = f"postgresql://locked@127.0.0.1:{postgres.port}/postgres"
    assert export("kinds", url=url, password="p4ss")["rows"] == 2


def test_a_refused_login_fails_at_once_and_tells_no_password(export: Any, postgres: Postgres) -> None:
    url = f"postgresql://locked@127.0.0.1:{postgres.port}/postgres"
    with pytest.raises(PermanentFailure, match="password authentication failed") as raised:
        export("kinds", url=url, password="not-this-one")
    assert "not-this-one" not in str(raised.value)
    with pytest.raises(PermanentFailure, match="does not exist"):
        export("kinds", url=f"postgresql://cloudq@127.0.0.1:{postgres.port}/nowhere")


def test_a_server_that_is_away_is_tried_again(export: Any) -> None:
    with pytest.raises(TemporaryFailure, match=r"[Cc]onnection refused"):
        export("kinds", url="postgresql://x@127.0.0.1:1/x")


def test_the_databases_own_timeout(export: Any) -> None:
    with pytest.raises(TemporaryFailure, match="timeout: source shop: canceling statement due to statement timeout"):
        export("sleep", statement_timeout=0.2)


def test_a_cancelled_job_leaves_no_query_running(export: Any, postgres: Postgres, job: Any, root: Path) -> None:
    timer = threading.Timer(0.3, lambda: setattr(job, "cancelled", True))
    timer.start()
    with pytest.raises(Cancelled):
        export("sleep")
    timer.join()
    assert postgres.execute(f"SELECT pid {OTHERS}") == []
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("query", ["sleep", "stall"])
def test_a_process_workers_timeout_is_not_hidden_and_ends_the_query(
    export: Any, postgres: Postgres, root: Path, query: str
) -> None:
    class Struck(Exception):
        pass

    def strike(*_: Any) -> None:
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Struck):
            export(query, fetch_size=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + 5
    while postgres.execute(f"SELECT pid {OTHERS}"):
        assert time.monotonic() < deadline, "the query still runs"
        time.sleep(0.02)
    assert list(root.iterdir()) == []


def test_a_silent_peer_ends_as_timeout(export: Any, silent_peer: Any) -> None:
    peer = silent_peer()
    started = time.monotonic()
    with pytest.raises(TemporaryFailure, match="timeout"):
        export("kinds", url=f"postgresql://x@127.0.0.1:{peer.port}/x", connect_timeout=2)
    assert time.monotonic() - started < 4


class StallingProxy:
    """Passes everything between a client and the server until `limit` bytes came back, then nothing more."""

    def __init__(self, port: int, limit: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._server = port
        self._limit = limit
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            self._sockets += [client, server]
            for source, target, limit in ((client, server, 1 << 40), (server, client, self._limit)):
                thread = threading.Thread(target=self._pump, args=(source, target, limit))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, limit: int) -> None:
        with suppress(OSError):
            while limit > 0 and (data := source.recv(min(65536, limit))):
                target.sendall(data)
                limit -= len(data)

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def stalling(postgres: Postgres) -> Iterator[StallingProxy]:
    proxy = StallingProxy(postgres.port, 1_000_000)
    yield proxy
    proxy.close()


def test_a_server_that_falls_silent_in_the_middle(export: Any, stalling: StallingProxy, root: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TemporaryFailure, match=r"timeout: source shop: the next rows took longer than 1\.3 s"):
        export("stall", url=f"postgresql://cloudq@127.0.0.1:{stalling.port}/postgres", statement_timeout=0.3)
    assert time.monotonic() - started < 6
    assert list(root.iterdir()) == []


def test_a_server_that_is_killed_in_the_middle_is_temporary(export: Any, postgres: Postgres, root: Path) -> None:
    def kill() -> None:
        deadline = time.monotonic() + 10
        while not postgres.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}") and time.monotonic() < deadline:
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(TemporaryFailure, match="source shop: "):
        export("sleep")
    thread.join()
    assert list(root.iterdir()) == []


MEASURED = """
import resource, sys
sys.path[:0] = [{root!r}, {tests!r}]
from conftest import RecordingJob
from tasks.clients.named_query import NamedQuery, QueryParam
from tasks.clients.output_folder import OutputFolder
from tasks.clients.sql import SqlSource
from tasks.clients.sql_sources import SqlSources
from tasks.payloads import ExportData
from tasks.processors.data_export import ExportRules, export_data
from pathlib import Path
url, folder, format_, rows = sys.argv[1:]
query = NamedQuery({series!r}, {{"n": QueryParam("integer")}})
sources = SqlSources({{"shop": {{"series": query}}}}, lambda name: SqlSource(name, url))
payload = ExportData(source="shop", query="series", params={{"n": int(rows)}}, format=format_)
done = export_data(
    payload, RecordingJob(), sources=sources, folder=OutputFolder(Path(folder), setting="x"), rules=ExportRules()
)
assert done["rows"] == int(rows), done
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(url: str, folder: Path, format_: str, rows: int) -> float:
    """The peak memory, in MB, of a fresh process that exports so many rows."""
    here = Path(__file__)
    script = MEASURED.format(root=str(here.parents[2]), tests=str(here.parent), series=SERIES)
    command = [sys.executable, "-c", script, url, str(folder), format_, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / (1 << 20 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("format_", ["csv", "xlsx", "parquet", "jsonl"] if FULL else ["csv", "parquet"])
def test_memory_does_not_grow_with_the_rows(postgres: Postgres, tmp_path: Path, format_: str) -> None:
    few, many = (1_000_000, 5_000_000) if FULL else (70_000, 200_000)
    grown = peak(postgres.url, tmp_path, format_, many) - peak(postgres.url, tmp_path, format_, few)
    # As Python objects the rows between the two counts would take some 60 MB in the short form and 1.5 GB in the long.
    assert grown < 25

"""The data-export queue over real SQLite files: formats, parameters, limits, and what a folder may hold after."""

from __future__ import annotations

import csv
import fcntl
import gzip
import hashlib
import io
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from cloudq_tui.errors import Cancelled, InvalidPayload, PermanentFailure, TemporaryFailure
from tasks.clients import parquet, sql, table_files
from tasks.clients.named_query import NamedQuery, QueryParam
from tasks.clients.output_folder import OutputFolder, plain_name
from tasks.clients.sql import SqlSource
from tasks.clients.sql_sources import SqlSources
from tasks.payloads import ExportData, parse_payload
from tasks.processors.data_export import ExportRules, export_data

ROWS = [
    (1, "Ann", 1.5, None, "2026-01-02"),
    (2, "=HYPERLINK(1)", -2.0, b"\x00\xff", "2026-01-03"),
    (3, 'Li "Lei", 雷\nnew line', 1e300, None, None),
    (4, "+8613800138000", 0.1, None, "x"),
]
COUNTED = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :n) SELECT i, 'row ' || i AS t FROM n"
)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
QUERIES = {
    "all": NamedQuery("SELECT id, name, amount, photo, day FROM people ORDER BY id"),
    "named": NamedQuery("SELECT id FROM people WHERE name = :name", {"name": QueryParam()}),
    "among": NamedQuery(
        "SELECT id FROM people WHERE id IN :ids ORDER BY id", {"ids": QueryParam("integer", many=True)}
    ),
    "since": NamedQuery("SELECT id FROM people WHERE day >= :day", {"day": QueryParam("date")}),
    "counted": NamedQuery(COUNTED, {"n": QueryParam("integer", default=100)}, count=True),
    "commented": NamedQuery("SELECT id FROM people -- all of them", count=True),
    "wide": NamedQuery(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
        " SELECT i, hex(zeroblob(498)) AS t, zeroblob(1000) AS b FROM n"
    ),
    "endless": NamedQuery(ENDLESS),
    "trickle": NamedQuery("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"),
    "doubles": NamedQuery("SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a"),
    "nothing": NamedQuery("SELECT id, name FROM people WHERE 0"),
    "writes": NamedQuery("INSERT INTO people (id) VALUES (99) RETURNING id"),
    "wrong": NamedQuery("SELECT no_such_column FROM people"),
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "people.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE people (id INTEGER, name TEXT, amount REAL, photo BLOB, day TEXT)")
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?)", ROWS)
        connection.commit()
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
def export(database: Path, root: Path, job: Any) -> Any:
    def run(query: str, format_: str = "csv", *, source: str = "people", **more: Any) -> Any:
        payload = {"source": source, "query": query, "format": format_}
        payload |= {key: more.pop(key) for key in ("params", "compression") if key in more}
        sources = SqlSources({"people": QUERIES}, lambda name: SqlSource(name, f"sqlite:///{database}", **options))
        rules = ExportRules(**{key: more.pop(key) for key in ("neutralise", "fetch_size", "max_rows") if key in more})
        job.last_checkpoint = None
        context = more.pop("job", job)
        options.update(more)
        return export_data(
            ExportData.model_validate(payload),
            context,
            sources=sources,
            folder=OutputFolder(root, setting="exports.root"),
            rules=rules,
        )

    options: dict[str, Any] = {}
    return run


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


# --- the formats ---------------------------------------------------------------------------------------------


def test_csv_reads_back_with_every_formula_disarmed(export: Any, root: Path) -> None:
    result = export("all")
    data = (root / "people-all-job-1.csv").read_bytes()
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert rows[0] == ["id", "name", "amount", "photo", "day"]
    assert [row[1] for row in rows[1:]] == ["Ann", "'=HYPERLINK(1)", ROWS[2][1], "'+8613800138000"]
    assert rows[2] == ["2", "'=HYPERLINK(1)", "-2.0", "AP8=", "2026-01-03"]
    assert (result["rows"], result["columns"], result["bytes"]) == (4, 5, len(data))
    assert result["sha256"] == hashlib.sha256(data).hexdigest()
    assert result["path"] == str(root / "people-all-job-1.csv")
    assert (root / result["file"]).stat().st_mode & 0o077 == 0


def test_csv_as_it_is_by_choice(export: Any, root: Path) -> None:
    export("all", neutralise=False)
    assert b'"=HYPERLINK' not in (data := (root / "people-all-job-1.csv").read_bytes())
    assert b",=HYPERLINK(1),-2.0" in data


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]
)
def test_whatever_starts_a_formula_is_disarmed(text: str) -> None:
    out = io.BytesIO()
    table_files.CsvFile(out, ["a"], compression=None, neutralise=True).write([[text], [-1], [-1.5]])
    assert [row[0] for row in csv.reader(io.StringIO(out.getvalue().decode(), newline=""))][1:] == [
        "'" + text,
        "-1",
        "-1.5",
    ]


def test_json_lines(export: Any, root: Path) -> None:
    export("all", "jsonl")
    lines = [json.loads(line) for line in (root / "people-all-job-1.jsonl").read_text().splitlines()]
    assert lines[1] == {"id": 2, "name": "=HYPERLINK(1)", "amount": -2.0, "photo": "AP8=", "day": "2026-01-03"}
    assert lines[2]["name"] == ROWS[2][1]


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", ".gz"), ("zstd", ".zst")])
def test_compressed(export: Any, root: Path, compression: str, suffix: str) -> None:
    export("counted", "jsonl", params={"n": 20_000}, compression=compression)
    packed = (root / f"people-counted-job-1.jsonl{suffix}").read_bytes()
    stream = io.BytesIO(packed)
    unpacked = zstandard.ZstdDecompressor().stream_reader(stream) if compression == "zstd" else None
    data = gzip.decompress(packed) if unpacked is None else unpacked.read()
    assert data.count(b"\n") == 20_000
    assert json.loads(data.splitlines()[-1]) == {"i": 20_000, "t": "row 20000"}


def test_xlsx_holds_text_as_text(export: Any, root: Path) -> None:
    export("all", "xlsx")
    sheet = openpyxl.load_workbook(root / "people-all-job-1.xlsx")["export"]
    assert [cell.value for cell in sheet[1]] == ["id", "name", "amount", "photo", "day"]
    assert [cell.value for cell in sheet[3]] == [2, "=HYPERLINK(1)", -2, "AP8=", "2026-01-03"]
    assert (sheet["B3"].data_type, sheet["B3"].quotePrefix) == ("s", True)
    assert sheet["B2"].quotePrefix is False
    assert sheet["B1"].quotePrefix is True, "a column's name may be a formula too"
    assert left_in(root) == ["people-all-job-1.xlsx"]


def test_xlsx_goes_on_in_a_further_sheet(export: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "XLSX_ROWS", 41)
    export("counted", "xlsx")
    book = openpyxl.load_workbook(root / "people-counted-job-1.xlsx")
    assert [(sheet.title, sheet.max_row) for sheet in book] == [("export", 41), ("export 2", 41), ("export 3", 21)]
    assert [cell.value for cell in book["export 3"][1]] == ["i", "t"]
    assert book["export 3"]["A21"].value == 100


def test_xlsx_never_cuts_a_text(export: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "XLSX_TEXT", 13)
    with pytest.raises(PermanentFailure, match="column 'name', row 3 of sheet 1 has 20: use csv"):
        export("all", "xlsx")
    assert left_in(root) == []


def test_parquet_keeps_types(export: Any, root: Path) -> None:
    export("all", "parquet", compression="zstd")
    table = pq.read_table(root / "people-all-job-1.parquet")
    assert [str(field.type) for field in table.schema] == ["int64", "string", "double", "binary", "string"]
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS
    assert pq.ParquetFile(root / "people-all-job-1.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_parquet_widens_a_column_that_later_holds_more(
    export: Any, database: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 10)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM people")
        rows = [(n, None if n < 15 else f"n{n}", n if n < 25 else n / 2, None, n if n < 35 else "x") for n in range(40)]
        connection.execute("ALTER TABLE people ADD COLUMN anything")
        connection.executemany("INSERT INTO people (id, name, amount, photo, anything) VALUES (?, ?, ?, ?, ?)", rows)
        connection.commit()
    monkeypatch.setitem(QUERIES, "all", NamedQuery("SELECT id, name, amount, photo, anything FROM people ORDER BY id"))
    assert export("all", "parquet", fetch_size=10)["rows"] == 40
    table = pq.read_table(root / "people-all-job-1.parquet")
    assert [str(field.type) for field in table.schema] == ["int64", "string", "double", "null", "string"]
    assert table.column("anything").to_pylist() == [str(n) for n in range(35)] + ["x"] * 5
    assert table.column("name").to_pylist() == [row[1] for row in rows]
    assert left_in(root) == ["people-all-job-1.parquet"]


@pytest.mark.parametrize("format_", ["csv", "jsonl", "xlsx", "parquet"])
def test_no_rows_are_a_file_too(export: Any, root: Path, format_: str) -> None:
    assert export("nothing", format_)["rows"] == 0
    if format_ == "parquet":
        assert pq.read_table(root / "people-nothing-job-1.parquet").column_names == ["id", "name"]
    if format_ == "csv":
        assert (root / "people-nothing-job-1.csv").read_text() == "id,name\n"


def test_columns_of_one_name_all_keep_their_values(export: Any, root: Path) -> None:
    columns = {"a": 1, "a_3": 2, "a_2": 3, "a_4": 4}
    assert json.loads((root / export("doubles", "jsonl")["file"]).read_text()) == columns
    assert pq.read_table(root / export("doubles", "parquet")["file"]).to_pylist() == [columns]
    assert (root / export("doubles", "csv")["file"]).read_text().split() == ["a,a_3,a_2,a_4", "1,2,3,4"]


def test_wide_rows_are_fetched_a_few_at_a_time(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write, batches = table_files.CsvFile.write, []

    def seen(self: Any, rows: Any) -> None:
        batches.append(len(rows))
        write(self, rows)

    monkeypatch.setattr(table_files.CsvFile, "write", seen)
    monkeypatch.setattr(sql, "_BATCH_SIZE", 20_000)
    export("wide")
    assert batches == [1, 16, *[10] * 8, 4]
    batches.clear()
    export("counted", fetch_size=80)
    assert batches == [1, 16, 80, 4]


def test_parquet_weighs_documents(root: Path) -> None:
    with OutputFolder(root, setting="exports.root").create("documents.parquet") as output:
        table = parquet.ParquetFile(output, ["doc"], compression=None)
        for _ in range(40):
            table.write([({"text": "x" * (1 << 20)},)])
        table.close()
        assert pq.ParquetFile(output.file).metadata.num_row_groups == 3


def test_kinds_of_parquet_join() -> None:
    kinds = list(parquet.Kind)
    for one in kinds:
        assert parquet.join(one, parquet.Kind.TEXT) is parquet.Kind.TEXT
        for other in kinds:
            joined = parquet.join(one, other)
            assert joined is parquet.join(other, one)
            assert parquet.join(joined, one) in {joined, parquet.Kind.TEXT}
            assert isinstance(joined.value, pa.DataType)


# --- parameters ----------------------------------------------------------------------------------------------


def test_values_are_bound_never_pasted(export: Any, root: Path) -> None:
    assert export("named", params={"name": "Ann' OR '1'='1"})["rows"] == 0
    assert export("named", params={"name": "Ann"})["rows"] == 1


def test_a_query_that_ends_in_a_comment_is_counted(export: Any) -> None:
    assert export("commented")["rows"] == 4


def test_lists_and_dates(export: Any) -> None:
    assert export("among", params={"ids": [1, 3, 7]})["rows"] == 2
    assert export("among", "jsonl", params={"ids": []})["rows"] == 0
    assert export("since", params={"day": "2026-01-03"})["rows"] == 2


@pytest.mark.parametrize(
    ("query", "params", "words"),
    [
        ("named", None, "params.name: is required"),
        ("named", {"name": 7}, "params.name: must be a string"),
        ("named", {"name": "a", "more": 1}, "params.more: is not declared by the query"),
        ("since", {"day": "tomorrow"}, "params.day: must be a date"),
        ("among", {"ids": ["1; DROP TABLE people"]}, "params.ids: must be a list of integer values"),
        ("counted", {"n": 2**63}, "params.n: must be an integer"),
        ("counted", {"n": True}, "params.n: must be an integer"),
        ("all", {"x": 1}, r"params.x: is not declared by the query \(none\)"),
    ],
)
def test_wrong_values_fail_at_once(export: Any, query: str, params: Any, words: str) -> None:
    with pytest.raises(PermanentFailure, match=words):
        export(query, params=params)


@pytest.mark.parametrize(
    "change",
    [
        {"sql": "DELETE FROM people"},
        {"query": "SELECT 1"},
        {"query": "../all"},
        {"source": "people; --"},
        {"format": "html"},
        {"format": "xlsx", "compression": "gzip"},
        {"compression": "bz2"},
        {"params": {"a b": 1}},
        {"params": {"a": {"b": 1}}},
        {"params": {"a": float("nan")}},
    ],
)
def test_a_payload_carries_names_only(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload):
        parse_payload(ExportData, {"source": "people", "query": "all", "format": "csv"} | change)


def test_unknown_names(export: Any) -> None:
    with pytest.raises(PermanentFailure, match=r"no source 'other' in exports\.sources"):
        export("all", source="other")
    with pytest.raises(PermanentFailure, match="source 'people' has no query 'everything'"):
        export("everything")


# --- the database --------------------------------------------------------------------------------------------


def test_a_source_is_read_only(export: Any, database: Path, root: Path) -> None:
    with pytest.raises(PermanentFailure, match="attempt to write a readonly database"):
        export("writes")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (4,)
    assert left_in(root) == []


def test_an_error_names_no_value_and_no_statement(export: Any) -> None:
    with pytest.raises(PermanentFailure) as raised:
        export("wrong")
    assert str(raised.value) == "source people: no such column: no_such_column"


def test_a_missing_database_is_not_made(export: Any, database: Path) -> None:
    database.unlink()
    with pytest.raises(PermanentFailure, match="the database file is not there"):
        export("all")
    assert not database.exists()


def test_a_locked_database_is_tried_again(export: Any, database: Path, root: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TemporaryFailure, match="database is locked"):
            export("all", connect_timeout=0.1)
    assert left_in(root) == []


@pytest.mark.parametrize("query", ["endless", "trickle"])
def test_a_job_past_its_time_ends_as_timeout(export: Any, root: Path, job: Any, query: str) -> None:
    class Clocked(type(job)):  # type: ignore[misc]
        end = time.monotonic() + 0.6

        @property
        def time_remaining(self) -> float:
            return max(0.0, self.end - time.monotonic())

        @time_remaining.setter
        def time_remaining(self, _: float) -> None: ...

        def check(self) -> None:
            if not self.time_remaining:
                raise TemporaryFailure("timeout: the job ran longer than it may")

    started = time.monotonic()
    with pytest.raises(TemporaryFailure, match="timeout"):
        export(query, job=Clocked())
    assert time.monotonic() - started < 1.6
    assert left_in(root) == []


def test_a_statement_may_take_so_long_and_no_longer(export: Any) -> None:
    with pytest.raises(TemporaryFailure, match=r"timeout: source people: the first rows took longer than 1\.1 s"):
        export("endless", statement_timeout=0.1)


def test_a_cancelled_job_ends_its_query(export: Any, root: Path, job: Any) -> None:
    timer = threading.Timer(0.2, lambda: setattr(job, "cancelled", True))
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        export("endless")
    assert time.monotonic() - started < 2
    assert left_in(root) == []
    timer.join()


def test_more_rows_than_allowed(export: Any, root: Path) -> None:
    with pytest.raises(PermanentFailure, match=r"more than exports\.max_rows \(99\) rows"):
        export("counted", max_rows=99)
    assert export("counted", max_rows=100)["rows"] == 100


# --- the folder ----------------------------------------------------------------------------------------------


def test_progress_names_its_steps(export: Any, job: Any) -> None:
    export("counted")
    assert job.progress == [
        (5, "check"),
        (8, "connect"),
        (9, "count"),
        (10, "export 0 rows"),
        (95, "checksum"),
        (100, "done"),
    ]


def test_a_second_run_finds_the_work_done(export: Any, root: Path, job: Any, database: Path) -> None:
    first = export("all")
    database.unlink()
    again = job.again()
    assert export("all", job=again) == first
    assert again.lines == ["already exported to people-all-job-1.csv, nothing to do"]


def test_a_second_run_makes_anew_what_is_gone(export: Any, root: Path, job: Any) -> None:
    first = export("all")
    (root / first["file"]).unlink()
    assert export("all", job=job.again()) == first
    assert (root / first["file"]).is_file()


def test_a_lost_lease_publishes_nothing(export: Any, root: Path, job: Any) -> None:
    job.die_after = 0
    with pytest.raises(Exception, match="killed here"):
        export("all")
    assert not root.exists() or left_in(root) == []


def test_the_name_cannot_leave_the_folder(export: Any, root: Path, job: Any) -> None:
    result = export("all", job=job.again(id="../../x:y@z"))
    assert result["file"] == "people-all-.._.._x:y@z.csv"
    assert left_in(root) == [result["file"]]


def test_no_two_ids_share_a_file(export: Any, root: Path, job: Any) -> None:
    ids = ["a:b", "a@b", "a_b", "x" * 64]
    results = [export("all", "jsonl", compression="zstd", job=job.again(id=id_)) for id_ in ids]
    assert left_in(root) == sorted(f"people-all-{id_}.jsonl.zst" for id_ in ids)
    assert [result["file"] for result in results] == [f"people-all-{id_}.jsonl.zst" for id_ in ids]


def test_the_longest_name_keeps_its_end() -> None:
    name = f"{'s' * 63}-{'q' * 63}-{'i' * 64}.jsonl.zst"
    assert plain_name(name) == name


def test_a_link_under_the_name_is_replaced_not_followed(export: Any, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (root / "people-all-job-1.csv").symlink_to(victim)
    export("all")
    assert victim.read_text() == "mine"
    assert not (root / "people-all-job-1.csv").is_symlink()


@pytest.fixture
def leftovers(root: Path) -> Iterator[tuple[Path, Path]]:
    """What a killed writer left, and what a living one is at."""
    root.mkdir()
    dead, living = (root / f".people-all-job-{n}.csv.{n * 16}.partial" for n in "12")
    for path in (dead, living):
        path.write_text("half")
        scratch = Path(f"{path}.d")
        scratch.mkdir()
        (scratch / "sheet").write_text("half")
    (root / ".other.partial").write_text("somebody else's")
    with living.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield dead, living


def test_what_a_killed_writer_left_goes_and_a_living_ones_stays(
    export: Any, root: Path, leftovers: tuple[Path, Path]
) -> None:
    _, living = leftovers
    export("all")
    assert left_in(root) == sorted([".other.partial", living.name, f"{living.name}.d", "people-all-job-1.csv"])
    assert left_in(Path(f"{living}.d")) == ["sheet"]


def test_a_writer_killed_once_its_file_has_its_name_leaves_nothing_else(
    export: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_here: list[list[str]] = []
    rename = os.rename

    def seen(*paths: str, **folders: int) -> None:
        rename(*paths, **folders)
        killed_here.append(left_in(root))

    monkeypatch.setattr(os, "rename", seen)
    assert killed_here == [[export("all", "xlsx")["file"]]]


def test_a_folder_that_is_no_folder(export: Any, root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(PermanentFailure, match=r"exports\.root: the file cannot be written: File exists"):
        export("all")


def test_a_full_disk_is_temporary(export: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TemporaryFailure, match="No space left on device"):
        export("all")
    assert left_in(root) == []


def test_without_a_folder_the_setting_is_named(job: Any) -> None:
    payload = ExportData(source="people", query="all", format="csv")
    sources = SqlSources({"people": QUERIES}, lambda name: SqlSource(name, "sqlite://"))
    with pytest.raises(PermanentFailure, match=r"exports\.root is not set"):
        export_data(
            payload, job, sources=sources, folder=OutputFolder(None, setting="exports.root"), rules=ExportRules()
        )

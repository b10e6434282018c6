"""The data-export queue: export-data.

Steps: check 5, connect 8, export 10 to 90 with the rows so far, checksum 95, done 100. The file appears under its
name when it is complete, and the same job writes the same name; a job that had ended well gives its result again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cloudq_tui.errors import InvalidPayload, JobSignal, PermanentFailure
from cloudq_tui.models.context import JobContext
from tasks.clients.named_query import NamedQuery
from tasks.clients.output_folder import OutputFile, OutputFolder, WrittenFile
from tasks.clients.parquet import ParquetFile
from tasks.clients.sql import Rows, SqlSession, SqlSource
from tasks.clients.sql_sources import SqlSources
from tasks.clients.table_files import CsvFile, JsonLinesFile, TableFile, XlsxFile
from tasks.payloads import ExportData

Result = dict[str, Any]

_SHOW_EVERY = 0.5  # seconds between two steps that name the rows
_SUFFIX = {"gzip": ".gz", "zstd": ".zst", None: ""}


@dataclass(frozen=True, slots=True)
class ExportRules:
    """What the settings say of every export."""

    neutralise: bool = True
    fetch_size: int = 5000
    max_rows: int = 0


def export_data(
    payload: ExportData, job: JobContext, *, sources: SqlSources, folder: OutputFolder, rules: ExportRules
) -> Result:
    """Write the rows of one named query to one file; the result tells its path, rows, bytes and SHA-256."""
    job.update_progress(5, "check")
    name = file_name(payload, job.id)
    done = _done_before(job, folder, name)
    if done is None:
        source, query = sources.find(payload.source, payload.query)
        try:
            values = query.bind(payload.params)
        except InvalidPayload as error:
            raise PermanentFailure(str(error)) from None
        with folder.create(name) as output:
            done = _export(payload, job, source, query, values, output, rules)
            job.checkpoint({"done": done})
    # The file is there: a cancellation or timeout that arrives now can no longer undo it.
    with suppress(JobSignal):
        job.update_progress(100, "done")
    return done


def file_name(payload: ExportData, job_id: str) -> str:
    """What this job's file is called. Parquet is compressed inside, so its name does not say so."""
    suffix = "" if payload.format == "parquet" else _SUFFIX[payload.compression]
    return f"{payload.source}-{payload.query}-{job_id}.{payload.format}{suffix}"


def _done_before(job: JobContext, folder: OutputFolder, name: str) -> Result | None:
    stored = job.last_checkpoint
    done: Result | None = stored.get("done") if isinstance(stored, dict) else None
    if done is None or not folder.has(name, done["bytes"]):
        return None
    job.log(f"already exported to {done['file']}, nothing to do")
    return done


def _export(
    payload: ExportData,
    job: JobContext,
    source: SqlSource,
    query: NamedQuery,
    values: dict[str, Any],
    output: OutputFile,
    rules: ExportRules,
) -> Result:
    started = time.monotonic()
    job.update_progress(8, "connect")
    with source.open(job) as session:
        progress = _Progress(job, _expected(job, session, query, values), rules.max_rows)
        with session.rows(query, values, size=rules.fetch_size) as rows:
            _copy(rows, _table_file(payload, output, rows, rules), progress)
    job.update_progress(95, "checksum")
    written = output.publish(job.check)
    job.log(f"{progress.rows} rows, {written.size} bytes in {time.monotonic() - started:.1f} s")
    return _result(payload, written, progress.rows, rows.columns)


def _expected(job: JobContext, session: SqlSession, query: NamedQuery, values: dict[str, Any]) -> int | None:
    if not query.count:
        return query.estimate
    job.update_progress(9, "count")
    return session.count(query, values)


def _table_file(payload: ExportData, output: OutputFile, rows: Rows, rules: ExportRules) -> TableFile:
    columns, compression = rows.columns, payload.compression
    if payload.format == "csv":
        return CsvFile(output.file, columns, compression=compression, neutralise=rules.neutralise)
    if payload.format == "jsonl":
        return JsonLinesFile(output.file, columns, compression=compression)
    if payload.format == "xlsx":
        return XlsxFile(output, columns, neutralise=rules.neutralise)
    return ParquetFile(output, columns, compression=compression, types=rows.types)


def _copy(rows: Rows, table: TableFile, progress: _Progress) -> None:
    try:
        progress.add(0)
        for batch in rows.batches:
            table.write(batch)
            progress.add(len(batch))
        progress.job.check()
        table.close()
    except BaseException:
        table.abandon()
        raise


def _result(payload: ExportData, written: WrittenFile, rows: int, columns: tuple[str, ...]) -> Result:
    return {
        "file": written.path.name,
        "path": str(written.path),
        "rows": rows,
        "columns": len(columns),
        "bytes": written.size,
        "sha256": written.sha256,
        "format": payload.format,
        "compression": payload.compression,
    }


class _Progress:
    """Rows so far, shown as a share of what is expected, or halfway where nothing is known."""

    def __init__(self, job: JobContext, expected: int | None, max_rows: int) -> None:
        self.job = job
        self.rows = 0
        self._expected = expected
        self._max_rows = max_rows
        self._shown = 0.0

    def add(self, rows: int) -> None:
        """Raises what ends the job."""
        self.rows += rows
        self.job.check()
        if self._max_rows and self.rows > self._max_rows:
            raise PermanentFailure(f"more than exports.max_rows ({self._max_rows}) rows")
        # A step's new name is written at once, so it may not change with every batch.
        if time.monotonic() - self._shown < _SHOW_EVERY:
            return
        self._shown = time.monotonic()
        share = 0.5 if self._expected is None else min(1.0, self.rows / max(1, self._expected))
        self.job.update_progress(10 + 80 * share, f"export {self.rows} rows")

"""The report-generation queue: generate-report.

Steps: check 5, data 10 to 60, charts 70, render 80, layout 85 (of a PDF), write 95, done 100. The file appears under
its name when it is complete, and the same job writes the same name; a job that had ended well gives its result again.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from cloudq_tui.errors import InvalidPayload, JobSignal, PermanentFailure, QueueUnavailable, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.clients.charts import Chart, ChartPainter, Series
from tasks.clients.output_folder import OutputFolder, WrittenFile
from tasks.clients.pdf import PdfPrinter
from tasks.clients.queue_health import SAMPLE, SLOT_MS, SLOTS, HealthReader, SystemHealth
from tasks.clients.report_templates import ReportTemplates
from tasks.clients.sql_sources import SqlSources
from tasks.clients.table_files import as_text
from tasks.payloads import GenerateReport

Result = dict[str, Any]

QUEUE_HEALTH = "queue-health"
_STATES = ("waiting", "active", "delayed", "paused", "failed")


@dataclass(frozen=True, slots=True)
class ReportChart:
    """A picture over the rows of one part: column `x` along the bottom, a series for each column of `y`."""

    title: str
    part: str
    kind: Literal["bar", "line"]
    x: str
    y: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportDefinition:
    """A report over SQL: `parts` maps a name to (source, query)."""

    title: str
    template: str
    parts: Mapping[str, tuple[str, str]]
    charts: Sequence[ReportChart] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one query, as a template sees them."""

    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ReportDesk:
    """What reports are made with. `health` opens the way to the queues when it is first needed."""

    folder: OutputFolder
    health: Callable[[], HealthReader]
    sources: SqlSources
    definitions: Mapping[str, ReportDefinition]
    templates: ReportTemplates
    painter: ChartPainter
    printer: PdfPrinter
    zone: dt.tzinfo
    max_rows: int = 2000


@dataclass(frozen=True, slots=True)
class _Content:
    """What is to be rendered."""

    template: str
    title: str
    context: dict[str, Any]
    charts: list[Chart]


def generate_report(payload: GenerateReport, job: JobContext, *, desk: ReportDesk) -> Result:
    """Make one report file; the result tells its path, bytes and SHA-256."""
    job.update_progress(5, "check")
    desk.folder.require()
    name = f"{payload.report}-{job.id}.{payload.format}"
    done = _done_before(job, desk.folder, name)
    if done is None:
        job.update_progress(10, "data")
        content = _health(payload, desk) if payload.report == QUEUE_HEALTH else _over_sql(payload, job, desk)
        data = _file(payload, job, desk, content)
        job.update_progress(95, "write")
        with desk.folder.create(name) as output:
            output.file.write(data)
            done = _result(payload, output.publish(job.check))
            job.checkpoint({"done": done})
        job.log(f"{done['bytes']} bytes in {done['file']}")
    # The file is there: a cancellation or timeout that arrives now can no longer undo it.
    with suppress(JobSignal):
        job.update_progress(100, "done")
    return done


def _done_before(job: JobContext, folder: OutputFolder, name: str) -> Result | None:
    stored = job.last_checkpoint
    done: Result | None = stored.get("done") if isinstance(stored, dict) else None
    if done is None or not folder.has(name, done["bytes"]):
        return None
    job.log(f"already written to {done['file']}, nothing to do")
    return done


def _result(payload: GenerateReport, written: WrittenFile) -> Result:
    return {
        "report": payload.report,
        "file": written.path.name,
        "path": str(written.path),
        "format": payload.format,
        "bytes": written.size,
        "sha256": written.sha256,
    }


def _file(payload: GenerateReport, job: JobContext, desk: ReportDesk, content: _Content) -> bytes:
    pictures = []
    for number, chart in enumerate(content.charts):
        job.update_progress(60 + 20 * number / len(content.charts), "charts")
        pictures.append("data:image/png;base64," + base64.b64encode(desk.painter.paint(chart)).decode("ascii"))
    job.update_progress(80, "render")
    common = {"title": content.title, "made_at": dt.datetime.now(desk.zone), "charts": pictures}
    common |= {"format": payload.format}
    html = desk.templates.render(content.template, common | content.context, check=job.check)
    if payload.format == "html":
        return html.encode("utf-8", "replace")
    job.update_progress(85, "layout")
    return desk.printer.print(html, title=content.title, check=job.check)


# --- queue-health ----------------------------------------------------------------------------------------------


def _health(payload: GenerateReport, desk: ReportDesk) -> _Content:
    names = _queue_names(payload.params or {})
    try:
        health = desk.health().read(names)
    except KeyError as error:
        raise PermanentFailure(f"params.queues: there is no queue {error.args[0]!r}") from None
    except QueueUnavailable as error:
        raise TemporaryFailure(f"the queues cannot be read now: {error}") from error
    times = [dt.datetime.fromtimestamp(fault.last / 1000, desk.zone) for fault in health.faults]
    context = {"health": health, "times": times, "sample": SAMPLE}
    return _Content("cloudq/queue-health.html", "Queue health", context, _health_charts(health, desk.zone))


def _queue_names(params: Mapping[str, Any]) -> list[str]:
    if unknown := sorted(set(params) - {"queues"}):
        raise PermanentFailure(f"params.{unknown[0]}: queue-health takes only `queues`")
    given = params.get("queues")
    names = [] if given is None else given if isinstance(given, list) else [given]
    if not all(isinstance(name, str) for name in names):
        raise PermanentFailure("params.queues: must be a list of names")
    return [str(name) for name in names]


def _health_charts(health: SystemHealth, zone: dt.tzinfo) -> list[Chart]:
    names = [one.view.name for one in health.queues]
    if not names:
        return []
    backlog = [Series(state, [getattr(one.view.counts, state) for one in health.queues]) for state in _STATES]
    begins = (health.at - (SLOTS - slot) * SLOT_MS for slot in range(SLOTS))
    times = [f"{dt.datetime.fromtimestamp(at / 1000, zone):%H:%M}" for at in begins]
    throughput = [
        Series(one.view.name, [count * 60_000 / SLOT_MS for count in one.day.slots])
        for one in health.queues
        if any(one.day.slots)
    ]
    rates = [one.day.failure_rate for one in health.queues]
    jobs = [job for one in health.queues for job in one.jobs]
    latency = [
        Series("wait p95", [job.wait.p95 for job in jobs]),
        Series("run p50", [job.duration.p50 for job in jobs]),
        Series("run p95", [job.duration.p95 for job in jobs]),
    ]
    return [
        Chart("Jobs kept, by state", "stacked", names, backlog, "jobs"),
        Chart("Throughput of the last 24 hours", "line", times, throughput, "jobs / min"),
        Chart("Failure rate of the last 24 hours", "bar", names, [Series("", [_percent(rate) for rate in rates])], "%"),
        Chart("Latency", "bar", [job.name for job in jobs], latency, "ms"),
    ]


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate


# --- reports over SQL ------------------------------------------------------------------------------------------


def _over_sql(payload: GenerateReport, job: JobContext, desk: ReportDesk) -> _Content:
    definition = desk.definitions.get(payload.report)
    if definition is None:
        known = ", ".join([QUEUE_HEALTH, *desk.definitions])
        raise PermanentFailure(f"there is no report {payload.report!r} in reports.definitions ({known})")
    _check_params(payload, definition, desk)
    parts = {}
    for number, name in enumerate(definition.parts):
        job.update_progress(10 + 50 * number / len(definition.parts), f"data: {name}")
        parts[name] = _part(payload, job, desk, *definition.parts[name])
    charts = [_chart(chart, parts[chart.part]) for chart in definition.charts]
    context = {"parts": parts, "params": payload.params or {}}
    return _Content(definition.template, definition.title or payload.report, context, charts)


def _check_params(payload: GenerateReport, definition: ReportDefinition, desk: ReportDesk) -> None:
    queries = [desk.sources.find(*where)[1] for where in definition.parts.values()]
    declared = {name for query in queries for name in query.params}
    if unknown := sorted(set(payload.params or {}) - declared):
        raise PermanentFailure(f"params.{unknown[0]}: is not declared by any query of the report")


def _part(payload: GenerateReport, job: JobContext, desk: ReportDesk, source_name: str, query_name: str) -> Part:
    source, query = desk.sources.find(source_name, query_name)
    given = {name: value for name, value in (payload.params or {}).items() if name in query.params}
    try:
        values = query.bind(given)
    except InvalidPayload as error:
        raise PermanentFailure(str(error)) from None
    limit = desk.max_rows
    found: list[dict[str, Any]] = []
    with source.open(job) as session, session.rows(query, values, size=min(1000, limit + 1)) as rows:
        for batch in rows.batches:
            found += [dict(zip(rows.columns, row, strict=True)) for row in batch]
            job.check()
            if len(found) > limit:
                break
        return Part(rows.columns, found[:limit], truncated=len(found) > limit)


def _chart(chart: ReportChart, part: Part) -> Chart:
    for column in (chart.x, *chart.y):
        if column not in part.columns:
            raise PermanentFailure(f"a chart draws the column {column!r}, which the query {chart.part!r} does not have")
    x = [as_text(row[chart.x]) for row in part.rows]
    series = [Series(column, [_value(column, row[column]) for row in part.rows]) for column in chart.y]
    return Chart(chart.title, chart.kind, x, series)


def _value(column: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise PermanentFailure(f"a chart draws the column {column!r}, which holds more than numbers") from None
    return number if math.isfinite(number) else None

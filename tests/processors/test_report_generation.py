"""The report-generation queue: reports over a real Redis and a real SQLite file, as HTML and as PDF."""

from __future__ import annotations

import base64
import io
import itertools
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pypdf import PdfReader

from cloudq_tui.bootstrap import Runtime, build
from cloudq_tui.engine.codec import pack_call
from cloudq_tui.engine.records import Finish, NewJob, Outcome, QueueClaim
from cloudq_tui.errors import Cancelled, InvalidPayload, PermanentFailure, QueueUnavailable, TemporaryFailure
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.metrics import JobMetrics, MinuteMetrics, QueueMetrics
from cloudq_tui.models.queue import QueueCounts, QueueView, Snapshot
from cloudq_tui.settings import Settings
from tasks.clients import charts
from tasks.clients.charts import Chart, ChartPainter, Series
from tasks.clients.named_query import NamedQuery, QueryParam
from tasks.clients.output_folder import OutputFolder
from tasks.clients.pdf import PdfPrinter
from tasks.clients.queue_health import HealthReader, group_faults
from tasks.clients.report_templates import ReportTemplates
from tasks.clients.sql import SqlSource
from tasks.clients.sql_sources import SqlSources
from tasks.payloads import GenerateReport, parse_payload
from tasks.processors.report_generation import ReportChart, ReportDefinition, ReportDesk, generate_report

NOON = 1_767_268_800_000  # epoch ms
EVIL = "<script>alert(1)</script>{{ 7 * 7 }} $\\frac{1}{"
QUERIES = {
    "hours": NamedQuery(
        "SELECT hour, n, label FROM sales WHERE n >= :least ORDER BY hour", {"least": QueryParam("integer")}
    ),
    "total": NamedQuery("SELECT sum(n) AS n FROM sales"),
    "wide": NamedQuery(f"SELECT {', '.join(f'{n} AS c{n}' for n in range(1, 13))}"),
    "tall": NamedQuery(f"SELECT replace(hex(zeroblob(1500)), '0', 'long ') AS {'name' * 5000}"),
}
PARTS = {"hours": ("shop", "hours"), "total": ("shop", "total")}
BARS = ReportChart("Orders $by$ hour", "hours", "bar", "label", ("n",))


@pytest.fixture(autouse=True)
def quiet_font_libraries() -> None:
    logging.getLogger("fontTools").setLevel(logging.ERROR)


@pytest.fixture
def runtime(redis_url: str) -> Iterator[Runtime]:
    with build(Settings(redis={"url": redis_url}), actor=Actor("test", "python"), read_only=True) as made:
        yield made


@pytest.fixture
def desk(runtime: Runtime, tmp_path: Path) -> ReportDesk:
    database = tmp_path / "shop.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE sales (hour INTEGER, n INTEGER, label TEXT)")
        rows = [(hour, hour * 3, f"{hour}:00" if hour else EVIL) for hour in range(24)]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
        connection.commit()
    (tmp_path / "templates").mkdir()
    return ReportDesk(
        folder=OutputFolder(tmp_path / "reports", setting="reports.root"),
        health=lambda: HealthReader(runtime.operations),
        sources=SqlSources({"shop": QUERIES}, lambda name: SqlSource(name, f"sqlite:///{database}")),
        definitions={
            "sales": ReportDefinition("Sales <today>", "cloudq/table.html", PARTS, [BARS]),
            "mine": ReportDefinition("", "mine.html", PARTS, [BARS]),
            "odd": ReportDefinition("", "cloudq/table.html", {name: ("shop", name) for name in ("wide", "tall")}),
        },
        templates=ReportTemplates(tmp_path / "templates"),
        painter=ChartPainter(),
        printer=PdfPrinter(),
        zone=ZoneInfo("Asia/Shanghai"),
    )


@pytest.fixture
def template(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "templates" / "mine.html"
        path.write_text(text)
        return path

    return write


def report(job: Any, desk: ReportDesk, name: str = "sales", format_: str = "html", **params: Any) -> Any:
    if name not in {"queue-health", "odd"}:
        params.setdefault("least", 0)
    payload = {"report": name, "format": format_, "params": params}
    return generate_report(GenerateReport.model_validate(payload), job, desk=desk)


def html_of(result: Any) -> str:
    return Path(result["path"]).read_text()


def pdf_text(result: Any) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(result["path"]).pages)


def pictures(html: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", html)]


def finished(runtime: Runtime, queue: str, count: int, *, error: str = "") -> None:
    """Jobs that really went through the engine."""

    engine = runtime.engine
    for number in range(count):
        engine.add(NewJob(id=f"{queue}{error}{number}", queue=queue, name="send-email", message=pack_call((), {})))
    claimed = engine.claim([QueueClaim(queue, count)], worker="w", request="r", lease=60_000, limit=count)
    outcome = Outcome.FAILED if error else Outcome.COMPLETED
    engine.finish(
        [
            Finish(job.queue, job.id, job.token, outcome, error=error.replace("{}", str(number)))
            for number, job in enumerate(claimed.jobs)
        ]
    )


# --- queue-health ----------------------------------------------------------------------------------------------


def test_queue_health_as_html(runtime: Runtime, desk: ReportDesk, job: Any) -> None:
    finished(runtime, "email", 30)
    finished(runtime, "sms", 3, error="<b>no number</b> bob{}@example.com 1380013800{}")
    result = report(job, desk, "queue-health")
    html = html_of(result)
    assert result["file"] == "queue-health-job-1.html"
    assert ">email</td>" in html
    assert re.search(r">email</td>(<td align=\"right\">[\d,]+</td>){4}<td align=\"right\">30</td>", html)
    assert "&lt;b&gt;no number&lt;/b&gt; b***@example.com" in html
    assert not re.search(r"bob\d*@", html), "the pictures' base64 may well hold a bob"
    day = r'>sms</td>(<td align="right">[\d.]+</td>){2}<td align="right">0</td><td align="right">3</td>'
    assert re.search(day + r'<td align="right">100.0 %</td><td align="right">0</td><td align="right">3</td>', html)
    latency = r'>email</td><td align="left">send-email</td><td align="right">30</td>'
    assert re.search(latency + r'(<td align="right">[\d.]+ m?s</td>){4}', html)
    alike = r">sms</td><td align=\"left\">send-email</td><td align=\"right\">3</td>"
    assert re.search(alike, html), "alike errors are one line"
    assert [picture.format for picture in pictures(html)] == ["PNG"] * 4
    assert " CST" in html
    assert job.progress[:2] == [(5, "check"), (10, "data")]
    assert job.progress[-3:] == [(80, "render"), (95, "write"), (100, "done")]


def test_queue_health_as_pdf(runtime: Runtime, desk: ReportDesk, job: Any) -> None:
    finished(runtime, "email", 30)
    finished(runtime, "sms", 3, error="no such number {} " + "and so on " * 3000)
    result = report(job, desk, "queue-health", "pdf")
    text = pdf_text(result)
    for words in ("Queue health", "email", "report-generation", "no such number", "Top incidents"):
        assert words in text
    assert sum(len(page.images) for page in PdfReader(result["path"]).pages) == 4
    assert (85, "layout") in job.progress


def test_queue_health_of_some_queues(desk: ReportDesk, job: Any) -> None:
    html = html_of(report(job, desk, "queue-health", queues=["sms"]))
    assert ">sms</td>" in html
    assert ">email</td>" not in html


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"queues": ["nope"]}, "there is no queue 'nope'"),
        ({"queues": [1]}, "must be a list of names"),
        ({"sql": "SELECT 1"}, "params.sql: queue-health takes only"),
    ],
)
def test_queue_health_refuses(desk: ReportDesk, job: Any, params: Any, words: str) -> None:
    with pytest.raises(PermanentFailure, match=words):
        report(job, desk, "queue-health", **params)


def test_a_redis_that_is_away_is_tried_again(desk: ReportDesk, job: Any) -> None:
    class Away:
        def snapshot(self) -> Any:
            raise QueueUnavailable("no answer")

        def queue_jobs(self, *_: Any) -> Any:
            raise AssertionError

        metrics = queue_jobs

    with pytest.raises(TemporaryFailure, match="the queues cannot be read now: no answer"):
        report(job, replace(desk, health=lambda: HealthReader(Away())), "queue-health")


def test_faults_are_grouped_by_what_stays_the_same() -> None:
    jobs = [
        Job(id=str(n), queue="q", name="a", state=JobState.FAILED, timestamp=n, finished_on=n * 10, error=error)
        for n, error in enumerate(["HTTP 503 after 1.5 s", "HTTP 503 after 2.25 s", "'x' is bad", "'y' is bad", ""])
    ]
    faults = group_faults("q", jobs)
    assert [(fault.count, fault.example, fault.first, fault.last) for fault in faults] == [
        (2, "HTTP 503 after 2.25 s", 0, 10),
        (2, "'y' is bad", 20, 30),
    ]


def test_a_day_is_told_by_half_hours() -> None:
    class Ran:
        def snapshot(self) -> Snapshot:
            return Snapshot(NOON, (QueueView("q", QueueCounts()),))

        def queue_jobs(self, *_: Any) -> list[Job]:
            return []

        def metrics(self, queue: str) -> QueueMetrics:
            ago = [(24 * 60, 1, 0), (31, 2, 1), (29, 4, 0), (0, 8, 2)]
            minutes = [MinuteMetrics(NOON - back * 60_000, done, failed, retried=1) for back, done, failed in ago]
            return QueueMetrics(NOON, queue, (JobMetrics("never"), JobMetrics("a", failed=1)), tuple(minutes))

    [health] = HealthReader(Ran()).read().queues
    assert (health.day.slots[0], health.day.slots[-2:], sum(health.day.slots)) == (1, (3, 14), 18)
    assert (health.day.completed, health.day.failed, health.day.retried, health.day.busiest) == (15, 3, 4, 10)
    assert health.day.failure_rate == 3 / 18
    assert [job.name for job in health.jobs] == ["a"]


# --- over SQL --------------------------------------------------------------------------------------------------


def test_a_sql_report_escapes_what_the_database_holds(desk: ReportDesk, job: Any) -> None:
    html = html_of(report(job, desk))
    assert "<h1>Sales &lt;today&gt;</h1>" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}" in html
    assert "<script" not in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert html.count("<tr>") == 1 + 24 + 1 + 1
    assert ">828</td>" in html
    assert len(pictures(html)) == 1


def test_a_sql_report_as_pdf(desk: ReportDesk, job: Any) -> None:
    result = report(job, desk, format_="pdf")
    text = pdf_text(result)
    assert "<script>alert(1)</script>{{ 7 * 7 }}" in " ".join(text.split())
    assert "828" in text
    assert PdfReader(result["path"]).metadata.title == "Sales <today>"


def test_params_reach_the_queries_that_declare_them(desk: ReportDesk, job: Any) -> None:
    assert html_of(report(job, desk, least=60)).count("<tr>") == 1 + 4 + 1 + 1
    with pytest.raises(PermanentFailure, match=r"params\.more: is not declared by any query"):
        report(job.again(last_checkpoint=None), desk, more=1)
    with pytest.raises(PermanentFailure, match=r"params\.least: must be an integer"):
        report(job.again(last_checkpoint=None), desk, least="0 OR 1")


def test_rows_beyond_the_limit_are_owned_up_to(desk: ReportDesk, job: Any) -> None:
    html = html_of(report(job, replace(desk, max_rows=5)))
    assert "Only the first 5 rows." in html
    assert html.count("<tr>") == 1 + 5 + 1 + 1


def test_a_pdf_takes_any_table(desk: ReportDesk, job: Any) -> None:
    result = report(job, desk, "odd", "pdf")
    text = pdf_text(result)
    assert "1 2 3 4 5 6 7 8 9 10\n" in text
    assert "1 11 12\n" in text, "further columns stand beside the first again"
    assert "long" in text
    assert "…" in text, "a cell that no page could hold is cut"
    html = html_of(report(job.again(id="whole"), desk, "odd"))
    assert html.count("<table") == 2
    assert "long " * 3000 in html


def test_an_unknown_report(desk: ReportDesk, job: Any) -> None:
    with pytest.raises(
        PermanentFailure, match=r"no report 'other' in reports\.definitions \(queue-health, sales, mine, odd\)"
    ):
        report(job, desk, "other")


@pytest.mark.parametrize(
    ("chart", "words"),
    [
        (replace(BARS, x="nope"), "draws the column 'nope', which the query 'hours' does not have"),
        (replace(BARS, y=("label",)), "draws the column 'label', which holds more than numbers"),
    ],
)
def test_charts_that_cannot_be_drawn(desk: ReportDesk, job: Any, chart: ReportChart, words: str) -> None:
    definitions = {"sales": ReportDefinition("x", "cloudq/table.html", PARTS, [chart])}
    with pytest.raises(PermanentFailure, match=words):
        report(job, replace(desk, definitions=definitions))


def test_payloads_carry_names_only() -> None:
    for change in ({"template": "{{ 1 }}"}, {"report": "../x"}, {"report": "a.html"}, {"format": "docx"}):
        with pytest.raises(InvalidPayload):
            parse_payload(GenerateReport, {"report": "sales"} | change)


# --- templates ---------------------------------------------------------------------------------------------------


def test_a_template_of_ones_own(desk: ReportDesk, job: Any, template: Any) -> None:
    template(
        '{% extends "cloudq/base.html" %}{% block content %}<p>{{ params.least }} {{ parts.total.rows[0].n | number }}'
        ' {{ made_at | moment }}</p><img src="{{ charts[0] }}">{% endblock %}'
    )
    html = html_of(report(job, desk, "mine"))
    assert "<p>0 828 20" in html
    assert "<h1>mine</h1>" in html
    assert PdfReader(report(job.again(last_checkpoint=None), desk, "mine", "pdf")["path"]).pages[0].images


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ parts.hours.rows.append(1) }}", "unsafe"),
        ("{{ made_at.__class__ }}", "unsafe"),
        ("{{ 'x'.ljust(1000000000000000000) }}", "MemoryError"),
        ("{{ 'x' * 10000000000 }}", "may not repeat"),
        ("{{ 10 ** 100000000 }}", "may not raise to a power"),
        ("{% for i in range(10000000000) %}{% endfor %}", "[Rr]ange too big"),
        ("{{ lipsum(n=1000000) }}", "undefined"),
        ("{{ nope }}", "'nope' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include '../secret.html' %}", "no template '../secret.html'"),
        ("{% include 'link.html' %}", "no template 'link.html'"),
        ("{% include '/etc/passwd' %}", "no template '/etc/passwd'"),
        ("{% include 'cloudq/../../../pyproject.toml' %}", "no template"),
        ("{% include 'mine.html' %}", "recursion"),
        ("{% if %}", "template mine.html: "),
    ],
)
def test_a_template_stays_in_its_sandbox(
    desk: ReportDesk, job: Any, template: Any, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "secret.html").write_text("secret")
    template(text).with_name("link.html").symlink_to(tmp_path / "secret.html")
    with pytest.raises(PermanentFailure, match=words):
        report(job, desk, "mine")


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "http://127.0.0.1:1/x.png", "file:///etc/passwd", "data:image/png;base64,?"]
)
def test_a_pdf_fetches_nothing(desk: ReportDesk, job: Any, template: Any, source: str) -> None:
    template(f'<p><img src="{source}"></p>')
    with pytest.raises(PermanentFailure, match=r"only the pictures that its report carries|no base64"):
        report(job, desk, "mine", "pdf")


def test_html_that_a_pdf_cannot_show_fails_in_words(desk: ReportDesk, job: Any, template: Any) -> None:
    template("<table><tr><td>a <b>b</b> <i>c</i></td></tr></table>")
    with pytest.raises(PermanentFailure, match="cannot be laid out as PDF: Unsupported nested HTML tags"):
        report(job, desk, "mine", "pdf")


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in r %}{%- for b in r -%}{% endfor %}{% endfor %}",
        "{% from 'many.html' import many %}{{ many(r) }}",
        "{% set text %}{% for a in r if a %}{% for b in r %}x{% endfor %}{% endfor %}{% endset %}",
        "{% extends 'many.html' %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{% set text = f(14) %}",
    ],
)
def test_a_loop_that_writes_nothing_can_be_ended(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("{% set r = range(1, 4000) %}" + text)
    (tmp_path / "many.html").write_text(
        "{% macro many(r) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}{% endmacro %}"
    )
    turns = itertools.count()

    def check() -> None:
        if next(turns) > 1000:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        ReportTemplates(tmp_path).render("mine.html", {}, check=check)


def test_a_missing_template(desk: ReportDesk, job: Any) -> None:
    with pytest.raises(PermanentFailure, match=r"no template 'mine\.html' in reports\.templates"):
        report(job, desk, "mine")


# --- the job ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["html", "pdf"])
def test_a_cancelled_job_leaves_nothing(desk: ReportDesk, job: Any, tmp_path: Path, format_: str) -> None:
    class Once(type(desk.painter)):  # type: ignore[misc]
        def paint(self, chart: Chart) -> bytes:
            job.cancelled = True
            return bytes(super().paint(chart))

    with pytest.raises(Cancelled):
        report(job, replace(desk, painter=Once()), format_=format_)
    assert not (tmp_path / "reports").exists()


def test_layout_asks_whether_it_is_still_wanted(tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        PdfPrinter().print("<p>x</p>" * 500, title="", check=stop)


def test_a_second_run_finds_the_work_done(desk: ReportDesk, job: Any) -> None:
    first = report(job, desk)
    again = job.again()
    assert report(again, replace(desk, definitions={})) == first
    assert again.lines == ["already written to sales-job-1.html, nothing to do"]


def test_without_a_folder_the_setting_is_named(desk: ReportDesk, job: Any) -> None:
    with pytest.raises(PermanentFailure, match=r"reports\.root is not set"):
        report(job, replace(desk, folder=OutputFolder(None, setting="reports.root")))


def test_charts_take_any_label_and_gaps() -> None:
    labels = [EVIL, "雷" * 50, "$$", "\x00", ""] * 30
    series = [Series("$a_{", [1, None, -3, 4, 5] * 30), Series("", [2.0] * 150)]
    for kind in ("bar", "stacked", "line"):
        picture = ChartPainter().paint(Chart("$x^{", kind, labels, series, "%"))
        assert Image.open(io.BytesIO(picture)).size[0] > 800
    assert ChartPainter().paint(Chart("", "bar", [], [])).startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["bar", "stacked"])
def test_more_bars_than_there_are_dots_are_one_drawing(kind: Any) -> None:
    series = [Series(name, [1.0, None, -3.0] * 2000) for name in ("a", "b")]
    figure = Figure()
    charts._draw(figure, Chart("", kind, ["x"] * 6000, series))
    [axes] = figure.axes
    assert len(axes.collections) == 2
    assert len(axes.patches) == 0
    assert axes.dataLim.y0 < -2


def test_fonts_of_ones_own(tmp_path: Path) -> None:
    mono = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")
    assert ChartPainter([mono]).paint(Chart("x", "bar", ["a"], [Series("", [1])])).startswith(b"\x89PNG")
    assert PdfPrinter([mono]).print("<p>x</p>", title="", check=lambda: None).startswith(b"%PDF")
    (tmp_path / "broken.ttf").write_text("no font")
    for font, words in (("broken.ttf", "broken.ttf: "), ("missing.ttf", "missing.ttf: No such file")):
        with pytest.raises(PermanentFailure, match=words):
            ChartPainter([tmp_path / font])


def test_letters_no_font_has_are_no_fault(desk: ReportDesk) -> None:
    made = PdfPrinter().print("<h1>雷 \x07\x1b[31m</h1><p>Ä ✓</p>", title="雷", check=lambda: None)
    assert "Ä ✓" in PdfReader(io.BytesIO(made)).pages[0].extract_text()

"""The section reports: their folder, their templates, and the reports over SQL."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cloudq_tui.settings import Section
from tasks.clock import read_cron
from tasks.payloads import GenerateReport, dump_payload
from tasks.settings.common import FolderOrFile, Folders
from tasks.settings.exports import Name

BUILT_IN = "queue-health"
# A job's id has 64 characters, and the time takes 16 of them.
ScheduleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
TemplateName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}$")]


class ChartSettings(Section):
    """One picture over a query's rows."""

    title: str = Field(default="", max_length=200)
    """Above the picture."""
    query: str = ""
    """One of the report's queries, by its key."""
    kind: Literal["bar", "line"] = "bar"
    """Bars, or lines along x."""
    x: str = ""
    """The column along the bottom."""
    y: Annotated[tuple[str, ...], Field(min_length=1, max_length=12)] = ("value",)
    """The columns that are drawn."""


class ReportQuery(Section):
    """Where a part of a report comes from."""

    source: Name
    """One of exports.sources."""
    query: Name
    """One of that source's queries."""


class ReportSettings(Section):
    """One report over SQL."""

    title: str = Field(default="", max_length=200)
    """Its headline; its name unless said."""
    template: TemplateName | None = None
    """A file in reports.templates; a plain one with every table and chart unless said."""
    queries: dict[Name, ReportQuery] = Field(default_factory=dict)
    """Its parts by the names the template uses."""
    charts: tuple[ChartSettings, ...] = ()
    """Its pictures, in order."""

    @model_validator(mode="after")
    def _charts_have_rows(self) -> Self:
        for chart in self.charts:
            if chart.query not in self.queries:
                raise ValueError(f"a chart draws the query {chart.query!r}, which the report does not have")
        return self


class ScheduledReport(Section):
    """A report that is made by itself."""

    cron: str
    """Minute, hour, day, month and weekday (0 to 6 from Sunday) in the `timezone` setting, as in a crontab."""
    report: Name = BUILT_IN
    """queue-health, or one of reports.definitions."""
    format: Literal["html", "pdf"] = "html"
    """What kind of file."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Values for the report's parameters, as a job may give them."""

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        read_cron(value)
        return value

    @model_validator(mode="after")
    def _is_a_payload(self) -> Self:
        self.order()
        return self

    def order(self) -> dict[str, Any]:
        """The payload of the job that makes it."""
        return dump_payload(GenerateReport(report=self.report, format=self.format, params=self.params))


class ReportsSettings(Section):
    root: FolderOrFile | None = None
    """Folder for the files; without it report jobs fail and say so."""
    templates: FolderOrFile | None = None
    """Folder of your Jinja2 templates."""
    fonts: Folders = ()
    """TTF or OTF files for what DejaVu Sans lacks, such as Chinese, in PDF and charts."""
    max_rows: int = Field(default=2000, ge=1, le=100_000)
    """Rows of one query in a report; it says when there were more."""
    definitions: dict[Name, ReportSettings] = Field(default_factory=dict)
    """The reports by name; queue-health is built in."""
    schedule: dict[ScheduleName, ScheduledReport] = Field(default_factory=dict)
    """Reports that are made by the clock, by a name that their files bear."""

    @model_validator(mode="after")
    def _built_in_stays(self) -> Self:
        if BUILT_IN in self.definitions:
            raise ValueError(f"definitions: {BUILT_IN} is built in; choose another name")
        return self

    @model_validator(mode="after")
    def _scheduled_are_there(self) -> Self:
        for name, one in self.schedule.items():
            if one.report != BUILT_IN and one.report not in self.definitions:
                raise ValueError(f"schedule.{name}: there is no report {one.report!r} in definitions")
        return self

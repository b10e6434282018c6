"""The section reports: their folder, their templates, and the reports over SQL."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cloudq_tui.settings import Section
from tasks.settings.common import FolderOrFile, Folders
from tasks.settings.exports import Name

BUILT_IN = "queue-health"
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

    @model_validator(mode="after")
    def _built_in_stays(self) -> Self:
        if BUILT_IN in self.definitions:
            raise ValueError(f"definitions: {BUILT_IN} is built in; choose another name")
        return self

"""The queue report-generation: its job, its defaults, and what reports are made of."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cloudq_tui.models.context import JobContext
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobPriority
from tasks.payloads import GenerateReport
from tasks.queues.data_export import sql_sources
from tasks.queues.job import PlatformJob, PlatformQueue
from tasks.settings import PlatformSettings

if TYPE_CHECKING:
    from tasks.clients.queue_health import HealthReader
    from tasks.processors.report_generation import ReportDefinition, ReportDesk
    from tasks.settings.reports import ReportSettings

_PLAIN = "cloudq/table.html"


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    return [
        PlatformJob(
            queue="report-generation",
            name="generate-report",
            model=GenerateReport,
            function=_Outside(settings).generate_report,
            priority=int(JobPriority.BACKGROUND),
            timeout=timedelta(minutes=30),
        )
    ]


class _Outside:
    """Databases, templates, pens and folder; made at a worker's first job, not by who only enqueues."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings

    @cached_property
    def health(self) -> HealthReader:
        """The product's own operations, read-only and with personal data masked, on a connection of their own."""
        from cloudq_tui.bootstrap import build  # noqa: PLC0415 - producers are built by it themselves
        from tasks.clients.queue_health import HealthReader  # noqa: PLC0415

        return HealthReader(build(actor=Actor("report-generation", "worker"), read_only=True).operations)

    @cached_property
    def desk(self) -> ReportDesk:
        from tasks.clients.charts import ChartPainter  # noqa: PLC0415 - libraries of the extra `worker`
        from tasks.clients.output_folder import OutputFolder  # noqa: PLC0415
        from tasks.clients.pdf import PdfPrinter  # noqa: PLC0415
        from tasks.clients.report_templates import ReportTemplates  # noqa: PLC0415
        from tasks.processors.report_generation import ReportDesk  # noqa: PLC0415

        own = self._settings.reports
        return ReportDesk(
            folder=OutputFolder(own.root, setting="reports.root"),
            health=lambda: self.health,
            sources=sql_sources(self._settings.exports),
            definitions={name: _definition(one) for name, one in own.definitions.items()},
            templates=ReportTemplates(own.templates),
            painter=ChartPainter(own.fonts),
            printer=PdfPrinter(own.fonts),
            zone=ZoneInfo(self._settings.timezone),
            max_rows=own.max_rows,
        )

    def generate_report(self, payload: GenerateReport, job: JobContext) -> Any:
        """See tasks.processors.report_generation."""
        from tasks.processors import report_generation as processor  # noqa: PLC0415 - libraries of the extra `worker`

        return processor.generate_report(payload, job, desk=self.desk)


def _definition(settings: ReportSettings) -> ReportDefinition:
    from tasks.processors.report_generation import ReportChart, ReportDefinition  # noqa: PLC0415

    return ReportDefinition(
        title=settings.title,
        template=settings.template or _PLAIN,
        parts={name: (one.source, one.query) for name, one in settings.queries.items()},
        charts=[ReportChart(one.title, one.query, one.kind, one.x, one.y) for one in settings.charts],
    )


QUEUE = PlatformQueue("report-generation", jobs, needs=("sqlalchemy", "psycopg", "jinja2", "fpdf", "matplotlib"))

"""The queue data-export: its job, its defaults, and the databases and folder of the settings."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cloudq_tui.errors import InvalidPayload
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from tasks.clients.named_query import NamedQuery, QueryParam
from tasks.payloads import ExportData
from tasks.queues.job import PlatformJob, PlatformQueue
from tasks.settings import ExportSettings, PlatformSettings

if TYPE_CHECKING:
    from tasks.clients.output_folder import OutputFolder
    from tasks.clients.sql import SqlSource
    from tasks.clients.sql_sources import SqlSources


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    return [
        PlatformJob(
            queue="data-export",
            name="export-data",
            model=ExportData,
            function=_Outside(settings.exports).export_data,
            priority=int(JobPriority.LOW),
            timeout=timedelta(hours=2),
            prepare=_Known(settings.exports).check,
        )
    ]


def named_queries(settings: ExportSettings) -> dict[str, dict[str, NamedQuery]]:
    """The queries of the settings by source and name."""
    return {
        name: {
            key: NamedQuery(
                sql=query.sql,
                params={
                    param: QueryParam(own.type, own.many, own.required, own.default)
                    for param, own in query.params.items()
                },
                count=query.count,
                estimate=query.estimate,
            )
            for key, query in source.queries.items()
        }
        for name, source in settings.sources.items()
    }


def sql_sources(settings: ExportSettings) -> SqlSources:
    """The databases of the settings; only a worker has their driver."""
    from tasks.clients.sql import SqlSource  # noqa: PLC0415 - a library of the extra `worker`
    from tasks.clients.sql_sources import SqlSources  # noqa: PLC0415

    def connect(name: str) -> SqlSource:
        source = settings.sources[name]
        return SqlSource(
            name=name,
            url=source.url.get_secret_value(),
            password=source.secret(name),
            connect_timeout=source.connect_timeout,
            statement_timeout=source.statement_timeout,
            read_only=source.read_only,
        )

    return SqlSources(named_queries(settings), connect)


class _Known:
    """Refuses at the producer what its own settings already show to be wrong.

    A producer without these settings lets everything pass: the worker, who has them, decides.
    """

    def __init__(self, settings: ExportSettings) -> None:
        self._settings = settings

    @cached_property
    def _queries(self) -> dict[str, dict[str, NamedQuery]]:
        return named_queries(self._settings)

    def check(self, payload: ExportData) -> ExportData:
        queries = self._queries.get(payload.source)
        if queries is None:
            return payload
        if payload.query not in queries:
            known = ", ".join(sorted(queries)) or "none"
            raise InvalidPayload("query", f"source {payload.source} has no such query ({known})", job="export-data")
        queries[payload.query].bind(payload.params, job="export-data")
        return payload


class _Outside:
    """The databases and the folder; made at a worker's first job, not by who only enqueues."""

    def __init__(self, settings: ExportSettings) -> None:
        self._settings = settings

    @cached_property
    def sources(self) -> SqlSources:
        return sql_sources(self._settings)

    @cached_property
    def folder(self) -> OutputFolder:
        from tasks.clients.output_folder import OutputFolder  # noqa: PLC0415 - the worker's

        return OutputFolder(self._settings.root, setting="exports.root")

    def export_data(self, payload: ExportData, job: JobContext) -> Any:
        """See tasks.processors.data_export."""
        from tasks.processors import data_export as processor  # noqa: PLC0415 - libraries of the extra `worker`

        rules = processor.ExportRules(
            self._settings.neutralise_formulas, self._settings.fetch_size, self._settings.max_rows
        )
        return processor.export_data(payload, job, sources=self.sources, folder=self.folder, rules=rules)


QUEUE = PlatformQueue("data-export", jobs, needs=("sqlalchemy", "psycopg", "pyarrow", "xlsxwriter", "zstandard"))

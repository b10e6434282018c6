"""The queue log-processing: its jobs, their defaults, and the folders they work in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from tasks.payloads.log_processing import AnalyzeLogs, ArchiveLogs, CleanLogs
from tasks.queues.job import PlatformJob, PlatformQueue
from tasks.settings import PlatformSettings


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    outside = _Outside(settings)
    return [
        PlatformJob(
            queue="log-processing",
            name="archive-logs",
            model=ArchiveLogs,
            function=outside.archive_logs,
            priority=int(JobPriority.BACKGROUND),
            timeout=timedelta(hours=4),
        ),
        PlatformJob(
            queue="log-processing",
            name="clean-logs",
            model=CleanLogs,
            function=outside.clean_logs,
            priority=int(JobPriority.BACKGROUND),
            timeout=timedelta(hours=1),
        ),
        PlatformJob(
            queue="log-processing",
            name="analyze-logs",
            model=AnalyzeLogs,
            function=outside.analyze_logs,
            priority=int(JobPriority.BACKGROUND),
            timeout=timedelta(hours=2),
        ),
    ]


class _Outside:
    """The folders and limits of the settings; zstandard is loaded by a worker's first job, not by who enqueues."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings

    def archive_logs(self, payload: ArchiveLogs, job: JobContext) -> Any:
        """Compress files, verify the archives, remove the originals."""
        from tasks.processors import log_processing as processor  # noqa: PLC0415 - see above

        return self._run(processor.archive_logs, payload, job)

    def clean_logs(self, payload: CleanLogs, job: JobContext) -> Any:
        """Remove files by age and total size."""
        from tasks.processors import log_processing as processor  # noqa: PLC0415

        return self._run(processor.clean_logs, payload, job)

    def analyze_logs(self, payload: AnalyzeLogs, job: JobContext) -> Any:
        """Count levels, messages and lines per minute."""
        from tasks.processors import log_processing as processor  # noqa: PLC0415

        return self._run(processor.analyze_logs, payload, job)

    def _run(self, function: Callable[..., Any], payload: Any, job: JobContext) -> Any:
        from tasks.clients.rooted_files import RootedFiles  # noqa: PLC0415
        from tasks.processors import log_processing as processor  # noqa: PLC0415

        logs = self._settings.logs
        rules = processor.LogRules(
            sets={name: processor.NamedSet(one.paths, one.format) for name, one in logs.sets.items()},
            max_files=logs.max_files,
            max_unpacked=logs.max_unpacked,
            zone=ZoneInfo(self._settings.timezone),
        )
        return function(payload, job, files=RootedFiles(logs.roots, setting="logs.roots"), rules=rules)


QUEUE = PlatformQueue("log-processing", jobs, needs=("zstandard",))

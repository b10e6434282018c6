"""Reports by the clock: `reports.schedule` orders each at its times, once however many consumers there are."""

from __future__ import annotations

from datetime import datetime

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobOptions
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import MAINTENANCE, Settings
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.tasks import CloudqTask
from tasks.clock import local_cron
from tasks.queues import report_generation
from tasks.settings import PlatformSettings
from tasks.settings.reports import ScheduledReport

SCHEDULER = Actor(name="reports.schedule", door="maintenance")
_QUEUE, _JOB = report_generation.QUEUE.name, "generate-report"


def register(huey: CloudqHuey, settings: Settings, platform: PlatformSettings) -> None:
    """Let the consumers of `huey` order the reports, also those that do not make them."""
    if _QUEUE in settings.queues:
        for name, report in platform.reports.schedule.items():
            _register(huey, settings, platform, name, report)


def _register(
    huey: CloudqHuey, settings: Settings, platform: PlatformSettings, name: str, report: ScheduledReport
) -> None:
    due = local_cron(report.cron, settings.zone)

    @huey.periodic_task(due, queue=MAINTENANCE, name=f"report-{name}", retries=3, retry_delay=60, context=True)
    def order_report(task: CloudqTask) -> str:
        reader = QueueReader(huey.engine.connection, prefix=huey.engine.prefix)
        jobs = report_generation.QUEUE.jobs(platform)
        operations = QueueOperations(huey.engine, reader, settings, actor=SCHEDULER, definitions=jobs)
        at = datetime.fromtimestamp(int(task.id.rpartition("@")[2]) * 60, settings.zone)
        # An id of the minute: a consumer that dies here orders the same job again, not another.
        once = JobOptions(job_id=f"{name}-{at:%Y-%m-%dT%H%M}")
        return operations.enqueue(_QUEUE, _JOB, report.order(), once).id

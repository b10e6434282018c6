"""The nightly clean: completed jobs older than a day leave every queue at 02:00 in the `timezone` setting.

A periodic task, added once however many consumers there are, on a queue of its own that people do not see.
"""

from __future__ import annotations

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobState
from cloudq_tui.services.operations import DAY_MS, QueueOperations
from cloudq_tui.settings import MAINTENANCE, Settings
from cloudq_tui.worker.huey import CloudqHuey
from tasks.clock import local_cron

NAME = "daily-clean"
CLEANER = Actor(name=NAME, door="maintenance")


def register(huey: CloudqHuey, settings: Settings) -> None:
    """Let the consumers of `huey` clean nightly."""

    at_two = local_cron("0 2 * * *", settings.zone)

    @huey.periodic_task(at_two, queue=MAINTENANCE, name=NAME, retries=3, retry_delay=60)
    def daily_clean() -> dict[str, int]:
        return clean_all(huey, settings)


def clean_all(huey: CloudqHuey, settings: Settings) -> dict[str, int]:
    """Clean every queue in bounded steps; how many jobs left which queue. Not to be undone."""
    engine = huey.engine
    reader = QueueReader(engine.connection, prefix=engine.prefix)
    operations = QueueOperations(engine, reader, settings, actor=CLEANER)
    return {
        queue: operations.clean_queue(queue, DAY_MS, JobState.COMPLETED, undoable=False).moved
        for queue in operations.queue_names()
    }

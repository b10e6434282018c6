"""Makes the platform's `huey`: the product's, with every job of the catalog registered under (queue, name)."""

from __future__ import annotations

import logging
import sys

from cloudq_tui.bootstrap import build_huey
from cloudq_tui.errors import CloudqError
from cloudq_tui.settings import PLATFORM_QUEUES, QueueSettings, Settings, load_settings
from cloudq_tui.worker.huey import CloudqHuey
from tasks import maintenance, scheduled_reports
from tasks.catalog import QUEUES
from tasks.queues.job import PlatformJob
from tasks.settings import load_platform_settings

log = logging.getLogger("cloudq.worker")


def make_huey(settings: Settings | None = None) -> CloudqHuey:
    """What `huey_consumer tasks.huey` serves: every queue whose libraries are installed here.

    Raises SettingsError in one line when a setting is wrong.
    """
    settings = settings or load_settings()
    platform = load_platform_settings()
    huey = build_huey(settings)
    for queue in QUEUES:
        own = settings.queues.get(queue.name)
        if own is None:
            if queue.name not in PLATFORM_QUEUES:  # the others were dropped on purpose (`name: false`)
                log.warning("queue %s is not served: the settings do not name it under queues", queue.name)
            continue
        if missing := queue.missing():
            if not huey.serve_queues or queue.name in huey.serve_queues:
                log.warning(
                    "queue %s is not served here: %s not installed; pip install 'cloudq-tui[worker]'",
                    queue.name,
                    ", ".join(missing),
                )
            continue
        for job in queue.jobs(platform):
            _register(huey, own, job)
    maintenance.register(huey, settings)
    scheduled_reports.register(huey, settings, platform)
    return huey


def served_huey() -> CloudqHuey:
    """`make_huey` for whoever asks for `tasks.huey`. huey_consumer prints a traceback for whatever goes wrong there,
    so under it an error that a person can mend is one line and the end.

    Raises as `make_huey` elsewhere.
    """
    try:
        return make_huey()
    except CloudqError as error:
        if not any(hasattr(sys.modules.get(name), "load_huey") for name in ("huey.bin.huey_consumer", "__main__")):
            raise
        raise SystemExit(f"tasks.huey: {error}") from None


def _register(huey: CloudqHuey, queue: QueueSettings, job: PlatformJob) -> None:
    huey.register_processor(
        queue=job.queue,
        name=job.name,
        func=job.function,
        model=job.model,
        retries=queue.retries if job.retries is None else job.retries,
        backoff=queue.backoff if job.backoff is None else job.backoff,
        timeout=None if job.timeout is None else job.timeout.total_seconds(),
        priority=job.priority,
    )

"""Makes the platform's `huey`: the product's, with every job of the catalog registered under (queue, name)."""

from __future__ import annotations

from cloudq_tui.bootstrap import build_huey
from cloudq_tui.settings import Settings, load_settings
from cloudq_tui.worker.huey import CloudqHuey
from tasks.catalog import PlatformJob, definitions
from tasks.settings import load_platform_settings


def make_huey(settings: Settings | None = None) -> CloudqHuey:
    """What `huey_consumer tasks.huey` serves. Raises SettingsError in one line when a setting is wrong."""
    settings = settings or load_settings()
    huey = build_huey(settings)
    for definition in definitions(load_platform_settings()):
        _register(huey, settings, definition)
    return huey


def _register(huey: CloudqHuey, settings: Settings, job: PlatformJob) -> None:
    queue = settings.queues.get(job.queue)
    if queue is None:
        return  # the settings dropped this queue (`name: false`)
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

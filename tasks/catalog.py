"""Every queue of the platform. A new one is a line here, a module in queues/, a payload model and a processor.

Producers take the checks from here and workers the functions; reading it opens no connection and reads no secret.
"""

from __future__ import annotations

from tasks.queues import (
    data_export,
    device_operation,
    email,
    image_processing,
    log_processing,
    notification,
    report_generation,
    sms,
)
from tasks.queues.job import PlatformJob, PlatformQueue
from tasks.settings import PlatformSettings

QUEUES: tuple[PlatformQueue, ...] = (
    email.QUEUE,
    sms.QUEUE,
    notification.QUEUE,
    device_operation.QUEUE,
    data_export.QUEUE,
    report_generation.QUEUE,
    image_processing.QUEUE,
    log_processing.QUEUE,
)


def definitions(settings: PlatformSettings) -> list[PlatformJob]:
    """The jobs of every queue that has a processor."""
    return [job for queue in QUEUES for job in queue.jobs(settings)]

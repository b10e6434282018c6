"""The queue image-processing: its job, its defaults, and the folders it works in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cloudq_tui.models.context import JobContext
from tasks.payloads.image_processing import ProcessImage
from tasks.queues.job import PlatformJob, PlatformQueue
from tasks.settings import PlatformSettings


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    return [
        PlatformJob(
            queue="image-processing",
            name="process-image",
            model=ProcessImage,
            function=_Outside(settings).process_image,
            timeout=timedelta(minutes=10),
        )
    ]


class _Outside:
    """The folders and limits of the settings; Pillow is loaded by a worker's first job, not by who only enqueues."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings

    def process_image(self, payload: ProcessImage, job: JobContext) -> Any:
        """Work on one picture."""
        from tasks.clients.rooted_files import RootedFiles  # noqa: PLC0415 - the worker's library, see above
        from tasks.processors import image_processing as processor  # noqa: PLC0415

        images = self._settings.images
        return processor.process_image(
            payload,
            job,
            files=RootedFiles(images.roots, setting="images.roots"),
            rules=processor.ImageRules(images.max_pixels, images.max_bytes, images.font),
        )


QUEUE = PlatformQueue("image-processing", jobs, needs=("PIL",))

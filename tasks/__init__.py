"""The cloud phone platform on top of the product: its queues, payloads, processors and producers.

`huey_consumer tasks.huey` imports this package and asks for `huey`; a producer asks for `QueueService`; the doors
of the product that check payloads ask for `DEFINITIONS`. Each is made on first use, so that none pays for, nor
starts, what only another needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudq_tui.worker.huey import CloudqHuey
    from tasks.queues.job import PlatformJob
    from tasks.service import QueueService

    DEFINITIONS: list[PlatformJob]
    huey: CloudqHuey

__all__ = ["DEFINITIONS", "QueueService", "huey"]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "huey":
        from tasks.app import served_huey  # noqa: PLC0415 - the worker's half loads only when asked for

        value = served_huey()
    elif name == "QueueService":
        from tasks import service  # noqa: PLC0415 - the same for the producer's half

        value = service.QueueService
    elif name == "DEFINITIONS":
        from tasks import catalog, settings  # noqa: PLC0415 - only for a door that checks payloads

        value = catalog.definitions(settings.load_platform_settings())
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value

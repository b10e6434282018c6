"""cloudq: Bull's queue semantics on Redis under Huey, and a terminal dashboard over them.

The public names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudq_tui.models.job import Job, JobOptions, JobState
    from cloudq_tui.services.operations import QueueOperations
    from cloudq_tui.settings import Settings
    from cloudq_tui.worker.huey import CloudqHuey

    __version__: str

__all__ = ["CloudqHuey", "Job", "JobOptions", "JobState", "QueueOperations", "Settings"]

_HOMES = {
    "CloudqHuey": "cloudq_tui.worker.huey",
    "Job": "cloudq_tui.models.job",
    "JobOptions": "cloudq_tui.models.job",
    "JobState": "cloudq_tui.models.job",
    "QueueOperations": "cloudq_tui.services.operations",
    "Settings": "cloudq_tui.settings",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])


def _version() -> str:
    try:
        return version("cloudq-tui")
    except PackageNotFoundError:
        return "0"  # run from a source tree that was never installed

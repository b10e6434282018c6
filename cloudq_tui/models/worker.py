"""A worker process as it presents itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One live consumer process. `seen` and `started` are epoch ms on the server's clock.

    `clock_ahead` is by how many ms its own clock was ahead of the server's at its last beat; None: not told.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    threads: int = 0
    running: int = 0
    started: int = 0
    seen: int = 0
    version: str = ""
    clock_ahead: int | None = None

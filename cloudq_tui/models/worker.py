"""A worker process as it presents itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One live consumer process. `seen` and `started` are epoch ms on the server's clock."""

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    threads: int = 0
    running: int = 0
    started: int = 0
    seen: int = 0
    version: str = ""

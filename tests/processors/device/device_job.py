"""A device's job in memory, whose locks are shared between jobs as Redis shares them."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cloudq_tui.errors import Cancelled, Deferred, LeaseLost


@dataclass
class DeviceJob:
    """JobContext in memory. `die_at` names the step at which its worker is killed: all it does fails from there."""

    id: str = "job-1"
    queue: str = "device-operation"
    name: str = "start-device"
    attempt: int = 1
    attempts_left: int = 3
    locks: dict[str, str] = field(default_factory=dict)
    last_checkpoint: Any = None
    progress: list[tuple[int, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    die_at: str = ""
    cancel_at: str = ""
    ends: float = float("inf")
    dead: bool = False

    @property
    def time_remaining(self) -> float:
        return max(0.0, self.ends - time.monotonic())

    @property
    def steps(self) -> list[str]:
        return [name for _, name in self.progress]

    def update_progress(self, percent: float, step: str = "") -> None:
        self.dead = self.dead or step == self.die_at
        self.check()
        if step == self.cancel_at:
            raise Cancelled("cancelled by test")
        self.progress.append((round(percent), step))

    def log(self, text: str) -> None:
        self.lines.append(text)

    def scrub(self, data: Any) -> None:
        raise AssertionError("device jobs have no secret")

    def checkpoint(self, data: Any) -> None:
        self.check()
        self.last_checkpoint = copy.deepcopy(data)

    def check(self) -> None:
        if self.dead:
            raise LeaseLost("killed here")

    def defer(self, delay: float, reason: str) -> NoReturn:
        raise Deferred(delay, reason)

    def limit(self, key: str, count: int, per: float) -> float:
        return 0.0

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        self.check()
        if self.locks.setdefault(key, self.id) != self.id:
            yield False
            return
        try:
            yield True
        finally:
            self.locks.pop(key, None)

    def again(self, **changes: Any) -> DeviceJob:
        kept = {"id": self.id, "locks": self.locks, "last_checkpoint": copy.deepcopy(self.last_checkpoint)}
        return DeviceJob(**(kept | {"attempt": self.attempt + 1} | changes))

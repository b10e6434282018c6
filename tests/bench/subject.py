"""The two systems under measurement, alike but for their queue: `huey_consumer subject.huey` runs one of them.

The environment chooses: BENCH_SYSTEM (plain or ours), BENCH_URL, and BENCH_KEEP_ALL to keep every completed job.
"""

from __future__ import annotations

import os
import time
from typing import Any

from huey import Huey, PriorityRedisHuey

from cloudq_tui.engine.records import Retention
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.options import QueueOptions

NAME = "bench"
PAYLOAD = "x" * 200
SYSTEMS = ("plain", "ours")


class Subject:
    """One system: its huey, and two tasks that do nothing."""

    def __init__(self, system: str, url: str, *, keep_all: bool = False) -> None:
        self.huey: Huey
        if system == "plain":
            self.huey = PriorityRedisHuey(NAME, url=url)
        else:
            kept = QueueOptions(retention=Retention(completed_count=0 if keep_all else 1000))
            self.huey = CloudqHuey(NAME, url=url, queue_options={NAME: kept})

        @self.huey.task()
        def noop(payload: str) -> bool:
            return True

        @self.huey.task()
        def latency(sent: float, payload: str) -> float:
            return time.monotonic() - sent

        self.noop: Any = noop
        self.latency: Any = latency


if "BENCH_SYSTEM" in os.environ:
    huey = Subject(
        os.environ["BENCH_SYSTEM"], os.environ["BENCH_URL"], keep_all=bool(os.environ.get("BENCH_KEEP_ALL"))
    ).huey

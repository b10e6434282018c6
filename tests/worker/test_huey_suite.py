"""Huey's own test suite, as its wheel ships it, against CloudqHuey on a real server.

Left out are cases of three classes only, each named with its reason: another storage's own behaviour, pickle, and
Huey's two-step scheduling (there an eta task is first pending and moved by execute(); here it is delayed at once).
"""

from __future__ import annotations

import datetime as dt
import os
import unittest
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("HUEY_SLOW_TESTS", "1")  # read when huey.tests is imported

from huey.tests import (
    test_api,
    test_asyncio,
    test_consumer,
    test_immediate,
    test_priority,
    test_registry,
    test_signals,
    test_storage,
)
from huey.tests.base import BaseTestCase

from cloudq_tui.worker.huey import CloudqHuey

OTHER_STORAGE = "another storage: "
PICKLE = "pickle: "
TWO_STEPS = "two-step scheduling: "

EXCLUDED: dict[str, str] = {
    "TestQueue.test_scheduling": TWO_STEPS + "reads an eta task as pending, then executes it into the schedule",
    "TestQueue.test_schedule_s": TWO_STEPS + "dequeues and executes eta tasks into the schedule",
    "TestQueue.test_scheduling_expires": TWO_STEPS + "executes an eta task into the schedule and reads it out",
    "TestQueue.test_read_schedule": TWO_STEPS + "executes eta tasks into the schedule and reads them out",
    "TestQueue.test_pending_scheduled_unregistered": TWO_STEPS + "dequeues tasks that are delayed by 60 s",
    "TestQueue.test_reschedule": TWO_STEPS + "looks for a task delayed by 120 s among the pending",
    "TestDecorators.test_task_id": TWO_STEPS + "dequeues a task that is delayed by 1 s",
    "TestChordPrimitive.test_chord_scheduling": TWO_STEPS + "executes delayed members into the schedule",
    "TestChordPrimitive.test_chord_bookkeeping_cleared": OTHER_STORAGE + "looks into MemoryStorage._counters",
    "TestStorageWrappers.test_storage_wrappers": TWO_STEPS + "a task delayed by 60 s is first pending",
    "TestConsumerIntegration.test_consumer_schedule_task": TWO_STEPS + "works eta tasks into the schedule",
    "TestPriority.test_schedule_priority": TWO_STEPS + "dequeues tasks delayed by 10 s, by priority",
    "TestSignals.test_signals_simple": TWO_STEPS + "SCHEDULED is sent when an eta task is executed",
    "StorageTests.test_schedule_methods": TWO_STEPS + "reads raw messages out of the schedule",
}
# TestImmediateMemoryStorage is left out whole. Another storage: it makes a Huey over a storage of its own.

# A retry's eta travels as a duration, so that no worker's clock decides, and comes back as a whole millisecond of the
# server's clock. This case runs, and what it reads back may differ by the 50 ms within which a delayed job starts.
BY_SERVER_CLOCK = "test_retrytask_eta_delay"
STARTS_WITHIN = dt.timedelta(milliseconds=50)


class OnRealServer(unittest.TestCase):
    """Gives a case of Huey's a CloudqHuey instead of its MemoryHuey."""

    options: dict[str, Any] = {}  # noqa: RUF012 - as unittest cases are written
    url: str

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> Iterator[None]:
        type(self).url = redis_url
        self.made: list[CloudqHuey] = []
        yield
        for huey in self.made:
            huey.leases.stop()
            huey.storage.close()

    def assertEqual(self, first: Any, second: Any, msg: Any = None) -> None:  # noqa: N802 - unittest's name
        close = self._testMethodName == BY_SERVER_CLOCK and isinstance(first, dt.datetime)
        assert abs(first - second) <= STARTS_WITHIN if close else first == second, msg or f"{first!r} != {second!r}"

    def get_huey(self) -> CloudqHuey:
        huey = CloudqHuey("suite", url=self.url, utc=False, read_timeout=0.05, **self.options)
        self.made.append(huey)
        return huey


OPTIONS: dict[str, dict[str, Any]] = {
    "TestDisableResultStore": {"results": False},
    "TestStoreIntermediateErrors": {"store_intermediate_errors": False},
    "TestImmediate": {"immediate": True},
}


class CustomErrorHuey(CloudqHuey):
    """As TestCustomErrorMetadata makes its own."""

    def build_error_result(self, task: Any, exception: BaseException) -> dict[str, Any]:
        error: dict[str, Any] = super().build_error_result(task, exception)
        error.update(name=task.name, args=task.args)
        return error


class WithCustomErrors(OnRealServer):
    def get_huey(self) -> CloudqHuey:
        huey = CustomErrorHuey("suite", url=self.url, utc=False, read_timeout=0.05)
        self.made.append(huey)
        return huey


def cases() -> Iterator[type[unittest.TestCase]]:
    modules = (test_api, test_asyncio, test_consumer, test_immediate, test_priority, test_registry, test_signals)
    for module in modules:
        for case in vars(module).values():
            if isinstance(case, type) and issubclass(case, BaseTestCase) and case.__module__ == module.__name__:
                yield case


def adopt(case: type, base: type = OnRealServer, *more: type) -> None:
    name = f"{case.__name__}OnCloudq"
    members: dict[str, Any] = {"__module__": __name__, "options": OPTIONS.get(case.__name__, {})}
    for full, reason in EXCLUDED.items():
        owner, _, method = full.partition(".")
        if owner == case.__name__:
            assert hasattr(case, method), f"{full} is excluded but does not exist"
            members[method] = unittest.skip(reason)(getattr(case, method))
    globals()[name] = type(name, (base, case, *more), members)


for one in cases():
    if one.__name__ == "TestImmediateMemoryStorage":
        continue
    adopt(one, WithCustomErrors if one.__name__ == "TestCustomErrorMetadata" else OnRealServer)


# StorageTests is what Huey applies to each of its own storages.
adopt(test_storage.StorageTests, OnRealServer, BaseTestCase)

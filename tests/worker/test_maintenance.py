"""The nightly clean and the reports by the clock, on a real server."""

from __future__ import annotations

import datetime as dt

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import Finish, Outcome, QueueClaim, Retention
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobState
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings
from cloudq_tui.worker.huey import CloudqHuey
from tasks import maintenance, scheduled_reports
from tasks.settings import PlatformSettings, ReportsSettings

TWO, THREE = (dt.datetime(2026, 1, 1, hour) for hour in (2, 3))  # noqa: DTZ001 - crontab asks in local time
KEEP = {"email": Retention(completed_age=0, completed_count=0)}


def _complete(engine: QueueEngine, operations: QueueOperations, request: str) -> None:
    operations.enqueue("email", "work", {})
    (job,) = engine.claim([QueueClaim("email", 1)], worker="w", request=request, lease=9000, limit=1).jobs
    engine.finish([Finish("email", job.id, job.token, Outcome.COMPLETED)], retention=KEEP)


class _Anything:
    queue, name, priority, retries, backoff, timeout = "email", "work", 5, None, None, None

    def check(self, data: dict[str, object]) -> dict[str, object]:
        return data

    def schema(self) -> dict[str, object]:
        return {}


def test_only_completed_jobs_older_than_a_day_leave(connection: Connection) -> None:
    client = connection.client
    engine, reader = QueueEngine(connection, clock="clock_fixed"), QueueReader(connection, clock="clock_fixed")
    operations = QueueOperations(engine, reader, Settings(), actor=Actor("t", "python"), definitions=[_Anything()])
    now = engine.now()
    client.set("{clock}:now", now - 25 * 3600 * 1000)
    _complete(engine, operations, "r1")
    client.set("{clock}:now", now - 3600 * 1000)
    _complete(engine, operations, "r2")
    huey = CloudqHuey("cloudq", engine=engine)
    assert maintenance.clean_all(huey, Settings())["email"] == 1
    assert operations.count("email", "completed") == 1
    [entry] = [entry for entry in operations.audit() if entry.count]
    assert (entry.actor.name, entry.action, entry.queue, entry.count) == ("daily-clean", "clean", "email", 1)


def test_it_is_due_at_two_and_many_consumers_add_it_once(engine: QueueEngine, reader: QueueReader) -> None:
    hueys = [CloudqHuey("cloudq", engine=engine) for _ in range(3)]
    for huey in hueys:
        maintenance.register(huey, Settings())
        assert [task.name for task in huey.read_periodic(TWO)] == ["daily-clean"]
        assert huey.read_periodic(THREE) == []
        task = huey.read_periodic(TWO)[0]
        task.id, task.scheduled_minute = "daily-clean@29453880", True
        huey.enqueue(task)
    assert reader.status(["maintenance"])[0].counts.waiting == 1


def test_people_do_not_see_its_queue(engine: QueueEngine, reader: QueueReader) -> None:
    huey = CloudqHuey("cloudq", engine=engine)
    maintenance.register(huey, Settings())
    engine.publish(huey.catalog())
    operations = QueueOperations(engine, reader, Settings(), actor=Actor("t", "python"))
    assert "maintenance" in reader.known_queues()
    assert "maintenance" not in operations.queue_names()


def test_a_scheduled_report_is_ordered_once_for_each_time(engine: QueueEngine, reader: QueueReader) -> None:
    reports = {"schedule": {"morning": {"cron": "0 10 * * *", "format": "pdf", "params": {"queues": ["email"]}}}}
    platform = PlatformSettings(reports=ReportsSettings.model_validate(reports))
    huey = CloudqHuey("cloudq", engine=engine)
    scheduled_reports.register(huey, Settings(timezone="Asia/Shanghai"), platform)
    assert huey.read_periodic(TWO) == []
    for minute in (29453880, 29453880, 29453880 + 24 * 60):  # 02:00 UTC
        [task] = huey.read_periodic(TWO.replace(hour=10))
        task.id = f"report-morning@{minute}"
        assert huey.execute(task).startswith("morning-2026-01-0")
    ordered = reader.page("report-generation", JobState.WAITING, 0, 9)
    assert sorted(job.id for job in ordered) == ["morning-2026-01-01T1000", "morning-2026-01-02T1000"]
    job = reader.job("report-generation", "morning-2026-01-01T1000")
    assert (job.name, job.priority) == ("generate-report", 10)
    assert job.data == {"report": "queue-health", "format": "pdf", "params": {"queues": ["email"]}}


def test_a_dropped_queue_gets_no_scheduled_reports(engine: QueueEngine) -> None:
    platform = PlatformSettings(reports=ReportsSettings.model_validate({"schedule": {"m": {"cron": "* * * * *"}}}))
    huey = CloudqHuey("cloudq", engine=engine)
    scheduled_reports.register(huey, Settings(queues={"report-generation": False}), platform)
    assert huey.read_periodic(TWO) == []

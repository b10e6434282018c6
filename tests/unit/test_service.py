"""QueueService on a real Redis: what each call queues, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudq_tui.bootstrap import Runtime
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import InvalidOptions, InvalidPayload, NoProcessor, ReadOnly
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Job, JobOptions, JobPriority, JobState
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings
from tasks.service import QueueService
from tasks.settings import EmailSettings, PlatformSettings

MAIL: dict[str, Any] = {"to": "user@example.com", "subject": "Hi"}


@pytest.fixture
def make_service(engine: QueueEngine, reader: QueueReader) -> Callable[..., QueueService]:
    def make(*, read_only: bool = False, core: dict[str, Any] | None = None, **platform: Any) -> QueueService:
        settings, actor = Settings(**(core or {})), Actor("test", "python")
        operations = QueueOperations(engine, reader, settings, actor=actor)
        runtime = Runtime(settings, engine, reader, operations)
        return QueueService(runtime, platform=PlatformSettings(**platform), actor=actor, read_only=read_only)

    return make


@pytest.fixture
def service(make_service: Callable[..., QueueService]) -> QueueService:
    return make_service()


def queued(service: QueueService) -> int:
    return sum(status.counts.waiting + status.counts.delayed for status in service.all_queues_status())


def test_send_email(service: QueueService) -> None:
    job = service.send_email(to="user@example.com", subject="Welcome", html="<h1>Welcome!</h1>")
    assert (job.queue, job.name, job.state) == ("email", "send-email", JobState.WAITING)
    assert job.data == {"to": "user@example.com", "subject": "Welcome", "html": "<h1>Welcome!</h1>"}
    stored = service.job("email", job.id)
    assert (stored.priority, stored.retries) == (JobPriority.NORMAL, 3)
    assert stored.data["to"] == "u***@example.com"


def test_every_field_of_a_mail(service: QueueService) -> None:
    fields: dict[str, Any] = {
        "to": ("a@example.com", "b@example.com"),
        "subject": "x",
        "text": "t",
        "cc": "c@example.com",
        "bcc": ["d@example.com"],
        "attachments": [{"filename": "x", "content": "y"}],
    }
    job = service.send_email(**fields, from_="me@example.com")
    assert job.data == fields | {"to": ["a@example.com", "b@example.com"], "from": "me@example.com"}


def test_a_long_batch_becomes_chunks(service: QueueService) -> None:
    jobs = service.send_batch_email([MAIL] * 250)
    assert [len(job.data["emails"]) for job in jobs] == [100, 100, 50]
    assert {(job.name, job.priority) for job in jobs} == {("send-batch-email", JobPriority.LOW)}
    assert queued(service) == 3


def test_a_batch_under_an_id_keeps_all_its_chunks(make_service: Callable[..., QueueService]) -> None:
    service = make_service(email=EmailSettings(batch_size=2))
    options = JobOptions(job_id="campaign", retries=0)
    first = service.send_batch_email([MAIL] * 5, options)
    assert [job.id for job in first] == ["campaign.0", "campaign.1", "campaign.2"]
    assert {job.retries for job in first} == {0}
    service.send_batch_email([MAIL] * 5, options)
    assert queued(service) == 3


def test_one_bad_mail_of_a_batch_refuses_it_whole(service: QueueService) -> None:
    with pytest.raises(InvalidPayload) as raised:
        service.send_batch_email([MAIL] * 150 + [{"to": "nobody", "subject": "x"}])
    assert raised.value.field == "emails.150.to"
    assert queued(service) == 0


def test_a_batch_is_split_where_it_grows_too_large(make_service: Callable[..., QueueService]) -> None:
    service = make_service(core={"max_payload": 10_000})
    mail = MAIL | {"html": "é" * 1500}
    jobs = service.send_batch_email([mail] * 10, JobOptions(job_id="campaign"))
    assert [len(job.data["emails"]) for job in jobs] == [3, 3, 3, 1]
    assert [job.id for job in jobs] == [f"campaign.{number}" for number in range(4)]
    with pytest.raises(InvalidPayload, match=r"payload: takes 10,\d\d\d bytes, max_payload allows 10,000; put large"):
        service.send_batch_email([mail, MAIL | {"html": "x" * 10_000}], JobOptions(job_id="second"))
    assert queued(service) == 4


@pytest.mark.parametrize("call", ["send_batch_email", "send_batch_sms", "send_batch_notification"])
def test_an_empty_batch(call: str, service: QueueService) -> None:
    with pytest.raises(InvalidPayload, match="is empty"):
        getattr(service, call)([])


def test_too_many_recipients(service: QueueService) -> None:
    many = [f"user{number}@example.com" for number in range(51)]
    with pytest.raises(InvalidPayload, match="send_batch_email"):
        service.send_email(to=many, subject="x")
    with pytest.raises(InvalidPayload, match=r"emails\.1\.to: 51 recipients"):
        service.send_batch_email([MAIL, {"to": many, "subject": "x"}])
    assert queued(service) == 0


def test_send_scheduled_email(service: QueueService) -> None:
    when = datetime.now(UTC) + timedelta(hours=1)
    job = service.send_scheduled_email(to="user@example.com", subject="x", html="y", scheduled_time=when)
    assert job.state is JobState.DELAYED
    assert job.due is not None
    assert abs(job.due - when.timestamp() * 1000) < 2000
    assert datetime.fromisoformat(job.data["scheduledTime"]) == when


def test_scheduled_in_the_past_is_at_once(service: QueueService) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    job = service.send_scheduled_email(to="user@example.com", subject="x", scheduled_time=past)
    assert job.state is JobState.WAITING


def test_sms_calls(service: QueueService) -> None:
    one = service.send_sms(phone="13800138000", message="Hi", provider="aliyun")
    assert one.data == {"phone": "13800138000", "message": "Hi", "provider": "aliyun"}
    batch = service.send_batch_sms([{"phone": "13800138000", "message": "x"}] * 101)
    assert [len(job.data["messages"]) for job in batch] == [100, 1]
    wide = {"phone": [f"138001380{n:02}" for n in range(60)], "message": "x"}
    batch = service.send_batch_sms([wide, wide, {"phone": "13900139000", "message": "x"}])
    assert [len(job.data["messages"]) for job in batch] == [1, 2], "numbers count, not messages"
    code = service.send_verification_code("13800138000", "123456", 5)
    assert (code.priority, code.data["expiresIn"]) == (JobPriority.CRITICAL, 5)
    assert code.data["expiresAt"] > code.timestamp


def test_notification_calls(service: QueueService) -> None:
    job = service.send_notification(targets=("ops", "crm"), body="Paid", title="Order 7", kind="payment")
    assert (job.queue, job.name, job.priority) == ("notification", "send-notification", JobPriority.CRITICAL)
    assert job.data["targets"] == ["ops", "crm"]
    many = [{"targets": "ops", "body": "x"}] * 100 + [{"targets": "ops", "body": "x", "kind": "realtime"}]
    batch = service.send_batch_notification(many)
    assert [(len(job.data["notifications"]), job.priority) for job in batch] == [
        (100, JobPriority.NORMAL),
        (1, JobPriority.HIGH),
    ]


def test_options_travel(service: QueueService) -> None:
    options = JobOptions(priority=JobPriority.HIGH, delay=timedelta(minutes=1), retries=7)
    job = service.send_sms(phone="13800138000", message="Hi", options=options)
    assert (job.priority, job.state, job.retries) == (JobPriority.HIGH, JobState.DELAYED, 7)


def test_what_is_no_mapping_or_list_is_refused_by_field(service: QueueService) -> None:
    wrong: Any = "x"
    calls = {
        "attachments": lambda: service.send_email(**MAIL, attachments=wrong),
        "attachments.0": lambda: service.send_email(**MAIL, attachments=[wrong]),
        "variables": lambda: service.send_sms(phone="13800138000", message="x", variables=wrong),
        "params": lambda: service.start_device("device-001", "user-123", wrong),
        "payload": lambda: service.generate_report(wrong),
        "emails": lambda: service.send_batch_email(None),  # type: ignore[arg-type]
    }
    for field, call in calls.items():
        with pytest.raises(InvalidPayload) as refused:
            call()
        assert refused.value.field == field
    assert queued(service) == 0


def test_options_that_are_none_are_refused_in_one_line(service: QueueService) -> None:
    wrong: Any = {"priority": "HIGH"}
    calls = (
        lambda: service.send_email(**MAIL, options=wrong),
        lambda: service.send_batch_email([MAIL], wrong),
        lambda: service.send_scheduled_email(**MAIL, scheduled_time="2030-01-01T00:00", options=wrong),
        lambda: service.enqueue_many("email", "send-email", [MAIL], wrong),
    )
    for call in calls:
        with pytest.raises(InvalidOptions, match=r"^options: must be JobOptions, not dict$"):
            call()
    with pytest.raises(InvalidOptions, match=r"^options\.job_id: string should have at most 64 characters$"):
        service.send_batch_email([MAIL] * 101, JobOptions(job_id="x" * 64))
    with pytest.raises(InvalidOptions, match=r"^options\.delay: must be ten years at most$"):
        service.send_scheduled_email(**MAIL, scheduled_time="9999-12-31T23:59")
    assert queued(service) == 0


def test_rest_and_shell_meet_the_same_checks(service: QueueService) -> None:
    with pytest.raises(InvalidPayload, match="to: is not an address"):
        service.enqueue("email", "send-email", {"to": "nobody", "subject": "x"})


DEVICE_CALLS: list[Callable[[QueueService], Job]] = [
    lambda s: s.start_device("device-001", "user-123", {"resolution": "1080x1920", "dpi": 480}),
    lambda s: s.stop_device("device-001", "user-123"),
    lambda s: s.restart_device("device-001", "user-123"),
    lambda s: s.reset_device("device-001", "user-123"),
    lambda s: s.install_app("device-001", "com.example.app", "https://example.com/app.apk"),
    lambda s: s.uninstall_app("device-001", "com.example.app"),
]


@pytest.mark.parametrize("call", DEVICE_CALLS)
def test_device_calls(call: Callable[[QueueService], Job], service: QueueService) -> None:
    job = call(service)
    assert job.name.partition("-")[0] == job.data["operation"]
    assert (job.queue, job.priority) == ("device-operation", JobPriority.HIGH)
    assert job.data["deviceId"] == "device-001"


def test_a_queue_without_a_processor_refuses(make_service: Callable[..., QueueService]) -> None:
    service = make_service(core={"queues": {"billing": {}}})
    with pytest.raises(NoProcessor, match="has no processor yet"):
        service.enqueue("billing", "charge", {"amount": 1})
    assert queued(service) == 0


def test_read_only(make_service: Callable[..., QueueService]) -> None:
    with pytest.raises(ReadOnly):
        make_service(read_only=True).send_email(**MAIL)


def test_a_producer_loads_no_huey_and_starts_no_worker() -> None:
    code = "import sys, tasks; tasks.QueueService; assert 'huey' not in sys.modules, 'huey'; import tasks.app"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_consumer_finds_huey_with_every_job(redis_url: str, tmp_path: Any) -> None:
    code = (
        "mod = __import__('tasks'); huey = getattr(mod, 'huey'); "
        "print(*sorted(f'{c.queue}:{c.__name__}' for c in huey._registry.classes()), sep='\\n')"
    )
    environment = {**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": os.getcwd(), "HOME": str(tmp_path)}  # noqa: PTH109
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, env=environment, cwd=tmp_path, capture_output=True
    )
    names = answer.stdout.decode().split()
    assert {"email:send-batch-email", "email:send-email", "email:send-scheduled-email"} <= set(names)
    assert {"sms:send-batch-sms", "sms:send-sms", "sms:send-verification-code"} <= set(names)

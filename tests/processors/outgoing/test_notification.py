"""send-notification and send-batch-notification over real HTTP: apprise's json:// and our signed webhooks."""

from __future__ import annotations

import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.errors import Cancelled, InvalidPayload, PermanentFailure, SettingsError, TemporaryFailure
from cloudq_tui.models.job import JobOptions, JobPriority
from cloudq_tui.services.admission import draft
from tasks.catalog import definitions
from tasks.payloads import SendBatchNotification, SendNotification
from tasks.queues import notification as queue
from tasks.settings import PlatformSettings, load_platform_settings
from tasks.webhooks import verify

ROOT = Path(__file__).parents[3]
TOKEN, SECRET = "Tq9x-Token-77", "webhook-secret-42"
Make = Callable[..., Any]

# apprise looks for a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def send_notification(*args: Any, **more: Any) -> Any:
    from tasks.processors import notification

    return notification.send_notification(*args, **more)


def send_batch_notification(*args: Any, **more: Any) -> Any:
    from tasks.processors import notification

    return notification.send_batch_notification(*args, **more)


@pytest.fixture
def make(peer: Any) -> Make:
    def made(**own: Any) -> Any:
        webhook = {"url": f"{peer.url}/crm?k={TOKEN}", "secret": SECRET}
        known: dict[str, Any] = {
            "targets": {"ops": f"json://user:{TOKEN}@{peer.host}/{TOKEN}"},
            "webhooks": {"crm": webhook},
            "timeout": 10,
        }
        settings = PlatformSettings.model_validate({"notification": known | own})
        return queue._Outside(settings).notifiers

    return made


@pytest.fixture
def notifiers(make: Make) -> Any:
    return make()


def note(targets: Any = "crm", **more: Any) -> SendNotification:
    return SendNotification.model_validate({"targets": targets, "body": "Zahlung über 5 € 已收到"} | more)


def test_a_chat_and_a_webhook_get_it(notifiers: Any, peer: Any, job: Any) -> None:
    payload = note(["ops", "crm", "ops"], title="Paid", level="success", kind="payment")
    result = send_notification(payload, job, notifiers=notifiers)
    chat, hook = peer.received
    assert (chat.path, chat.json()["title"], chat.json()["message"]) == (f"/{TOKEN}", "Paid", payload.body)
    assert chat.json()["type"] == "success"
    assert hook.json() == {
        "id": "job-1.1",
        "kind": "payment",
        "level": "success",
        "title": "Paid",
        "body": payload.body,
    }
    assert result == {
        "total": 2,
        "sent": 2,
        "failed": 0,
        "outcomes": [
            {"index": 0, "target": "ops", "status": "sent", "id": "job-1.0"},
            {"index": 1, "target": "crm", "status": "sent", "id": "job-1.1"},
        ],
    }
    assert job.progress == [(10, "validate"), (30, "send"), (55, "send"), (100, "record")]


def test_a_receiver_can_verify_a_webhook_and_drop_its_repetition(notifiers: Any, peer: Any, job: Any) -> None:
    peer.replies(500)
    with pytest.raises(TemporaryFailure):
        send_notification(note(), job, notifiers=notifiers)
    peer.replies(204, b"")
    send_notification(note(), job.again(attempt=2), notifiers=notifiers)
    first, second = peer.received
    assert first.body == second.body
    assert [verify(SECRET, request.headers, request.body) for request in (first, second)] == ["job-1.0"] * 2


@pytest.mark.parametrize("target", ["ops", "crm"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentFailure),
        (401, PermanentFailure),
        (404, PermanentFailure),
        (410, PermanentFailure),
        (408, TemporaryFailure),
        (429, TemporaryFailure),
        (500, TemporaryFailure),
        (503, TemporaryFailure),
    ],
)
def test_each_status_has_its_class(
    notifiers: Any, peer: Any, job: Any, target: str, status: int, kind: type[Exception]
) -> None:
    peer.replies(status, **{"retry-after": "30"})
    with pytest.raises(kind, match=f"^target {target}.*{status}") as raised:
        send_notification(note(target), job, notifiers=notifiers)
    if target == "crm" and kind is TemporaryFailure:
        assert getattr(raised.value, "retry_after", None) == (30 if status != 400 else None)


def test_a_webhook_follows_no_redirect(notifiers: Any, peer: Any, job: Any) -> None:
    peer.replies(302, location=f"{peer.url}/elsewhere")
    with pytest.raises(PermanentFailure, match="target crm answered 302"):
        send_notification(note(), job, notifiers=notifiers)
    assert len(peer.received) == 1


@pytest.mark.parametrize("kind", ["targets", "webhooks"])
def test_a_silent_target_ends_in_time(make: Make, silent_peer: Any, job: Any, kind: str) -> None:
    silent = silent_peer()
    here = f"127.0.0.1:{silent.port}"
    own = {"targets": {"x": f"json://{here}/?rto=60"}, "webhooks": {"x": {"url": f"http://{here}", "secret": "s"}}}
    notifiers = make(**{"targets": {}, "webhooks": {}, kind: own[kind], "timeout": 0.3})
    start = time.monotonic()
    with pytest.raises(TemporaryFailure, match=r"^timeout: target x \(0\.3s\)$"):
        send_notification(note("x"), job, notifiers=notifiers)
    assert time.monotonic() - start < 2
    job.time_remaining = 0.1
    with pytest.raises(TemporaryFailure, match=r"\(0\.1s\)"):
        send_notification(note("x"), job.again(time_remaining=0.1), notifiers=notifiers)


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a peer whose answer's head never ends."""
    ended = threading.Event()

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.2):
                    self.request.sendall(b"X-More: y\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield server.server_address[1]
        ended.set()
        server.shutdown()


def test_targets_that_drip_take_nothing_from_the_others(make: Make, peer: Any, job: Any, dripping: int) -> None:
    many = min(32, (os.cpu_count() or 1) + 4)  # as many threads as a pool has by default
    notifiers = make(targets={"slow": f"json://127.0.0.1:{dripping}/", "ops": f"json://{peer.host}/"}, timeout=1)
    began = time.monotonic()

    def drip(number: int) -> None:
        with pytest.raises(TemporaryFailure, match=r"^timeout: target slow"):
            send_notification(note("slow"), job.again(id=f"job-{number}"), notifiers=notifiers)

    with ThreadPoolExecutor(many) as pool:
        list(pool.map(drip, range(many)))
    assert time.monotonic() - began < 5
    assert send_notification(note("ops"), job, notifiers=notifiers)["sent"] == 1
    left = [one for one in threading.enumerate() if one.name == "notify"]
    assert {one.daemon for one in left} == {True}, "a worker ends although they do not"


@pytest.mark.parametrize("target", ["ops", "crm"])
def test_nothing_told_has_a_url_or_a_secret(
    make: Make, peer: Any, job: Any, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifiers = make()
    with caplog.at_level(logging.DEBUG):
        for reply in (401, 500):
            peer.replies(reply, {"said": TOKEN})
            with pytest.raises((PermanentFailure, TemporaryFailure)) as raised:
                send_notification(note(target), job.again(), notifiers=notifiers)
            told = f"{raised.value!r} {job.lines} {job.checkpoints}"
            assert TOKEN not in told
            assert peer.host not in told
        peer.close()
        with pytest.raises(TemporaryFailure) as raised:
            send_notification(note(target), job.again(), notifiers=notifiers)
    for secret in (TOKEN, SECRET, peer.host):
        assert secret not in f"{raised.value!r} {notifiers!r}"
    assert TOKEN not in caplog.text
    assert SECRET not in caplog.text


def test_one_bad_target_never_stops_the_rest(notifiers: Any, peer: Any, job: Any) -> None:
    payload = {
        "notifications": [
            {"targets": ["nobody", "crm"], "body": "a"},
            {"targets": "ops", "body": "b", "title": "t"},
        ]
    }
    result = send_batch_notification(SendBatchNotification.model_validate(payload), job, notifiers=notifiers)
    assert [(one["notification"], one["target"], one["status"]) for one in result["outcomes"]] == [
        (0, "nobody", "failed"),
        (0, "crm", "sent"),
        (1, "ops", "sent"),
    ]
    assert "neither notification.targets nor notification.webhooks" in result["outcomes"][0]["error"]
    assert job.progress[-1] == (100, "3 of 3")
    with pytest.raises(PermanentFailure, match="target nobody: neither"):
        send_notification(note("nobody"), job.again(last_checkpoint=None), notifiers=notifiers)


def test_a_batch_goes_on_where_it_died(notifiers: Any, peer: Any, job: Any) -> None:
    many = [{"targets": "crm", "body": f"n{number}"} for number in range(6)]
    payload = SendBatchNotification.model_validate({"notifications": many})
    dying = job.again(die_after=3)
    with pytest.raises(Exception, match="killed here"):
        send_batch_notification(payload, dying, notifiers=notifiers)
    result = send_batch_notification(payload, dying.again(), notifiers=notifiers)
    assert (result["sent"], [one.json()["body"] for one in peer.received]) == (6, [f"n{n}" for n in range(6)])


def test_a_cancelled_batch_stops(notifiers: Any, peer: Any, job: Any) -> None:
    def cancel(_: Any) -> Any:
        job.cancelled = True
        return reply

    reply = peer.answer(None)
    peer.answer = cancel
    many = [{"targets": "crm", "body": "x"}] * 3
    with pytest.raises(Cancelled):
        send_batch_notification(SendBatchNotification.model_validate({"notifications": many}), job, notifiers=notifiers)
    assert len(peer.received) == 1


# --- payloads, priorities, settings -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targets", "https://example.com/hook"),
        ("targets", "slack://a/b/c"),
        ("targets", []),
        ("targets", ["ok", "../x"]),
        ("title", "a\r\nX-Evil: 1"),
        ("body", ""),
        ("level", "loud"),
        ("kind", "Payment!"),
        ("url", "https://example.com"),
    ],
)
def test_payloads_are_strict(field: str, value: Any) -> None:
    check = {one.name: one.check for one in queue.jobs(PlatformSettings())}["send-notification"]
    with pytest.raises(InvalidPayload) as raised:
        check({"targets": "ops", "body": "x"} | {field: value})
    assert raised.value.field.split(".")[0] == field


@pytest.mark.parametrize(
    ("kinds", "priority"),
    [
        (["payment"], JobPriority.CRITICAL),
        (["realtime"], JobPriority.HIGH),
        (["general"], JobPriority.NORMAL),
        (["marketing"], JobPriority.NORMAL),
        (["general", "payment", "realtime"], JobPriority.CRITICAL),
    ],
)
def test_the_kind_gives_the_priority(kinds: list[str], priority: JobPriority) -> None:
    notes = [{"targets": "ops", "body": "x", "kind": kind} for kind in kinds]
    data: Any = notes[0] if len(notes) == 1 else {"notifications": notes}
    name = "send-notification" if len(notes) == 1 else "send-batch-notification"
    definition = next(one for one in definitions(PlatformSettings()) if one.name == name)
    options = JobOptions()
    new = draft("notification", name, definition.check(data), options, definition=definition)
    assert new.rank == priority
    options = JobOptions(priority=7)
    assert draft("notification", name, definition.check(data), options, definition=definition).rank == 7


def test_targets_come_from_variables_and_files(
    peer: Any, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ops").write_text(f"json://{peer.host}/file\n")
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "config.yaml").write_text(
        f"notification: {{target_files: {{Ops-2: {tmp_path}/ops, gone: {tmp_path}/none}}, webhooks: {{"
        f"crm: {{url: '{peer.url}/hook', secret_file: {tmp_path}/key}}, bare: {{url: '{peer.url}'}}}}}}"
    )
    monkeypatch.setenv("CLOUDQ_NOTIFICATION__TARGETS__PAGER", f"json://{peer.host}/variable")
    notifiers = queue._Outside(load_platform_settings()).notifiers
    result = send_notification(note(["Ops-2", "PAGER", "crm", "gone", "bare"]), job, notifiers=notifiers)
    assert [one.path for one in peer.received] == ["/file", "/variable", "/hook"]
    verify(SECRET, peer.last.headers, peer.last.body)
    gone, bare = (one["error"] for one in result["outcomes"][3:])
    assert "notification.target_files.gone" in gone
    assert "notification.webhooks.bare.secret is not set" in bare


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("targets: {ops: 'slack://a/b/c'}", r"^notification\.targets\.ops: a secret belongs in the environment"),
        ("webhooks: {a: {url: 'http://x', secret: s}}", r"^notification\.webhooks\.a\.secret: a secret belongs"),
        ("webhooks: {a: {url: 'ftp://x'}}", "must be a URL such as"),
        ("webhooks: {a: {url: 'http://x'}}\n  target_files: {A: /x}", "'a' is named twice"),
        ("webhooks: {'a b': {url: 'http://x'}}", "should match pattern"),
    ],
)
def test_a_wrong_setting_is_one_line(text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(f"notification:\n  {text}\n")
    with pytest.raises(SettingsError, match=reason) as raised:
        load_platform_settings()
    assert "\n" not in str(raised.value)


def test_a_url_apprise_does_not_know_and_a_bad_key_are_named(make: Make, peer: Any, job: Any) -> None:
    notifiers = make(targets={"x": f"nonsense://{TOKEN}"}, webhooks={"y": {"url": peer.url, "secret": "whsec_*"}})
    with pytest.raises(PermanentFailure, match=r"notification\.targets\.x is no URL that apprise knows") as raised:
        send_notification(note("x"), job, notifiers=notifiers)
    assert TOKEN not in str(raised.value)
    with pytest.raises(PermanentFailure, match=r"webhooks\.y\.secret: what follows whsec_ must be base64"):
        send_notification(note("y"), job, notifiers=notifiers)


def test_a_producer_loads_no_client_library() -> None:
    code = "import sys; from tasks.queues import notification, sms; print({'apprise', 'httpx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_schema_says_what_each_field_is() -> None:
    schema = SendNotification.model_json_schema(by_alias=True)
    assert all("description" in field for field in schema["properties"].values()), json.dumps(schema)
    assert schema["required"] == ["targets", "body"]

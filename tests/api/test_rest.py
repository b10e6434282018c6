"""The owner's endpoints, by path, shape and status code."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cloudq_tui.api.app import check_address, create_app, serve_forever
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import Finish, Outcome, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import SettingsError
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import JobOptions
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.services.wire import metrics_json
from cloudq_tui.settings import Settings

JSON = {"content-type": "application/json"}
MAIL = {"to": "test@example.com", "subject": "Test", "html": "<h1>Test</h1>"}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) <= {"code", "message", "field"}
    assert error["message"]
    return answer.status_code, error["code"]


def fail_one(engine: QueueEngine) -> str:
    (job,) = engine.claim(
        [QueueClaim("email", 1)], worker="w", request=f"r{time.monotonic_ns()}", lease=9000, limit=1
    ).jobs
    detail = b'{"number":1,"outcome":"failed","error":"535","traceback":"Traceback","started":1,"finished":2}'
    engine.finish([Finish("email", job.id, job.token, Outcome.FAILED, error="535 bad credentials", detail=detail)])
    return job.id


def test_status_has_the_owners_shape(client: httpx.Client, operations: QueueOperations) -> None:
    operations.enqueue("email", "send-email", MAIL)
    operations.enqueue("sms", "send-sms", {"phone": "13800138000"}, JobOptions.from_wire({"delay": 60_000}))
    answer = client.get("/queues/status")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["timestamp", "queues", "summary"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])
    assert body["queues"][0] == {
        "name": "email",
        "counts": {"waiting": 1, "active": 0, "completed": 0, "failed": 0, "delayed": 0, "paused": 0},
    }
    assert body["summary"] == {
        "totalQueues": 8,
        "totalWaiting": 1,
        "totalActive": 0,
        "totalCompleted": 0,
        "totalFailed": 0,
        "totalPaused": 0,
        "totalDelayed": 1,
    }


def test_jobs_by_state_and_page(client: httpx.Client, operations: QueueOperations) -> None:
    made = operations.enqueue_many("email", "send-email", [MAIL] * 30)
    body = client.get("/queues/email/jobs?status=waiting&start=0&end=10").json()
    assert (body["queue"], body["status"], body["start"], body["end"], body["total"]) == (
        "email",
        "waiting",
        0,
        10,
        30,
    )
    assert [job["jobId"] for job in body["jobs"]] == [job.id for job in made[:11]]
    assert body["jobs"][0]["data"] is None
    assert len(client.get("/queues/email/jobs").json()["jobs"]) == 20
    assert client.get("/queues/email/jobs?status=failed").json()["jobs"] == []


def test_a_page_is_capped(client: httpx.Client, operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 520)
    body = client.get("/queues/email/jobs?end=100000000").json()
    assert (len(body["jobs"]), body["end"], body["total"]) == (500, 499, 520)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=done", "status"),
        ("start=-1", "start"),
        ("end=x", "end"),
        ("start=5&end=4", None),
        ("state=failed", "state"),
    ],
)
def test_a_wrong_page_is_refused(client: httpx.Client, query: str, field: str | None) -> None:
    answer = client.get(f"/queues/email/jobs?{query}")
    assert refusal(answer) == (422, "invalid")
    assert answer.json()["error"].get("field") == field


def test_one_job_whole_and_masked(client: httpx.Client, operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue("email", "send-email", MAIL)
    job_id = fail_one(engine)
    body = client.get(f"/queues/email/jobs/{job_id}").json()
    expected = {"jobId", "queue", "name", "data", "progress", "step", "state", "attemptsMade", "timestamp"}
    assert expected | {"processedOn", "finishedOn", "failedReason", "attempts", "result"} <= set(body)
    assert body["data"] == MAIL | {"to": "t***@example.com"}
    assert (body["state"], body["failedReason"], body["result"]) == ("failed", "535 bad credentials", None)
    assert body["processedOn"] <= body["finishedOn"]
    assert body["attempts"][0] | {"error": "535", "traceback": "Traceback"} == body["attempts"][0]


def test_metrics_are_those_of_the_command(
    client: httpx.Client, operations: QueueOperations, engine: QueueEngine
) -> None:
    assert client.get("/queues/email/metrics").json()["jobs"] == []
    operations.enqueue("email", "send-email", MAIL)
    fail_one(engine)
    body = client.get("/queues/email/metrics").json()
    assert body == metrics_json(operations.metrics("email")) | {"timestamp": body["timestamp"]}
    assert [(job["name"], job["failed"], job["completed"]) for job in body["jobs"]] == [("send-email", 1, 0)]
    assert [minute["failed"] for minute in body["minutes"]] == [1]
    assert set(body["jobs"][0]["duration"]) == {"mean", "p50", "p95", "p99"}


def test_what_has_not_happened_yet_is_null(client: httpx.Client, operations: QueueOperations) -> None:
    job = operations.enqueue("email", "send-email", MAIL)
    body = client.get(f"/queues/email/jobs/{job.id}").json()
    assert (body["processedOn"], body["finishedOn"], body["failedReason"], body["result"]) == (
        None,
        None,
        None,
        None,
    )


def test_retry_and_remove(client: httpx.Client, operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue("email", "send-email", MAIL)
    job_id = fail_one(engine)
    assert client.post(f"/queues/email/jobs/{job_id}/retry").status_code == 200
    assert operations.count("email", "waiting") == 1
    assert refusal(client.post(f"/queues/email/jobs/{job_id}/retry")) == (409, "conflict")
    answer = client.delete(f"/queues/email/jobs/{job_id}")
    assert (answer.status_code, answer.json()["jobId"]) == (200, job_id)
    assert refusal(client.delete(f"/queues/email/jobs/{job_id}")) == (404, "job_not_found")
    assert [entry.actor.door for entry in operations.audit()] == ["api", "api"]


def test_pause_resume_empty(client: httpx.Client, operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 3)
    assert client.post("/queues/email/pause").status_code == 200
    assert operations.count("email", "paused") == 3
    assert client.delete("/queues/email/empty").json()["count"] == 3
    assert client.post("/queues/email/resume").json()["message"] == "the queue gives jobs again"
    assert client.post("/queues/email/resume").json()["message"] == "the queue was not paused"


def test_clean_with_and_without_a_body(client: httpx.Client, operations: QueueOperations, engine: QueueEngine) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 2)
    fail_one(engine)
    time.sleep(0.005)
    assert client.post("/queues/email/clean").json()["count"] == 0
    assert client.post("/queues/email/clean", json={"type": "failed"}).json()["count"] == 0
    assert client.post("/queues/email/clean", json={"grace": 0, "type": "failed"}).json()["count"] == 1
    for body in (
        {"grace": -1},
        {"type": "done"},
        {"grace": "x"},
        {"grace": True},
        {"state": "failed"},
        {"type": "active"},
    ):
        assert refusal(client.post("/queues/email/clean", json=body)) == (422, "invalid")


def test_the_test_routes_enqueue(client: httpx.Client, operations: QueueOperations) -> None:
    answer = client.post("/queues/test/send-email", json=MAIL)
    assert answer.status_code == 202
    assert set(answer.json()) == {"message", "jobId"}
    assert operations.job("email", answer.json()["jobId"]).data["subject"] == "Test"
    answer = client.post("/queues/test/send-sms", json={"phone": "13800138000", "message": "hi"})
    assert answer.status_code == 202
    assert operations.job("sms", answer.json()["jobId"]).data["phone"] == "138****8000"
    refused = client.post("/queues/test/start-device", json={"deviceId": "device-001", "operation": "start"})
    assert refusal(refused) == (422, "no_processor")
    assert operations.count("device-operation", "waiting") == 0


def test_options_travel_with_the_payload(client: httpx.Client, operations: QueueOperations) -> None:
    body = MAIL | {"options": {"jobId": "order-17", "delay": 60_000, "priority": "HIGH"}}
    assert client.post("/queues/test/send-email", json=body).json()["jobId"] == "order-17"
    assert client.post("/queues/test/send-email", json=body).json()["jobId"] == "order-17"
    job = operations.job("email", "order-17")
    assert (job.state, job.priority) == ("delayed", 3)
    assert "options" not in job.data
    answer = client.post("/queues/test/send-email", json=MAIL | {"options": {"priority": "SOON"}})
    assert refusal(answer) == (422, "invalid_options")
    assert answer.json()["error"]["field"] == "options.priority"
    forever = client.post(
        "/queues/test/send-email", content=b'{"to": "a@example.com", "options": {"delay": 1e999}}', headers=JSON
    )
    assert refusal(forever) == (422, "invalid_options")


def test_a_bad_payload_names_its_field_and_queues_nothing(client: httpx.Client, operations: QueueOperations) -> None:
    answer = client.post("/queues/test/send-email", json={"subject": "x"})
    assert refusal(answer) == (422, "invalid_payload")
    assert answer.json()["error"]["field"] == "to"
    for content in (b"{", b"[]", b'"x"', b"", b"{}"):
        refused = client.post("/queues/test/send-email", content=content, headers={"Content-Type": "application/json"})
        assert refused.status_code == 422
        assert refused.json()["error"]["message"]
    untyped = client.post("/queues/test/send-email", content=json.dumps(MAIL))
    assert refusal(untyped) == (422, "invalid")
    assert "content-type: application/json" in untyped.json()["error"]["message"]
    assert operations.count("email", "waiting") == 0


def test_a_body_too_large_is_refused_unread(client: httpx.Client, operations: QueueOperations) -> None:
    most = Settings().api.max_body

    answer = client.post("/queues/test/send-email", content=b" " * (most + 1), headers=JSON)
    assert refusal(answer) == (413, "body_too_large")
    message = f"the body has {most + 1:,} bytes, api.max_body allows {most:,}; send less at a time"
    assert answer.json()["error"]["message"] == message
    unannounced = client.post("/queues/email/clean", content=iter([b" " * (most // 2)] * 3), headers=JSON)
    assert refusal(unannounced) == (413, "body_too_large")
    whole = client.post("/queues/test/send-email", json=MAIL | {"html": "x" * Settings().max_payload})
    assert refusal(whole) == (422, "invalid_payload")
    assert whole.json()["error"]["field"] == "payload"
    assert operations.count("email", "waiting") == 0


def test_a_length_too_large_is_refused_before_the_client_goes_on(client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as line:
        line.settimeout(10)
        line.sendall(
            b"POST /queues/test/send-email HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


UNREADABLE = "the body cannot be read: send JSON in UTF-8, not compressed, nested less than 1,000 deep"
NO_OBJECT = "the body must be a JSON object, sent with content-type: application/json"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        pytest.param(b'{"to" 1}', 422, "the body is not JSON: Expecting ':' delimiter at character 6", id="syntax"),
        pytest.param(b"[1]", 422, NO_OBJECT, id="no object"),
        pytest.param(b"[" * 100_000, 400, UNREADABLE, id="deep"),
        pytest.param(b'{"to": "\xe9"}', 400, UNREADABLE, id="latin-1"),
    ],
)
def test_a_body_that_cannot_be_read_is_told_why(client: httpx.Client, body: bytes, status: int, message: str) -> None:
    answer = client.post("/queues/test/send-email", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, message)


def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(client: httpx.Client) -> None:
    answer = client.put("/queues/status")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/queues/nope/jobs", (404, "queue_not_found")),
        ("GET", "/queues/nope/jobs/1", (404, "queue_not_found")),
        ("GET", "/queues/nope/metrics", (404, "queue_not_found")),
        ("POST", "/queues/nope/pause", (404, "queue_not_found")),
        ("DELETE", "/queues/nope/empty", (404, "queue_not_found")),
        ("POST", "/queues/test/pause", (404, "queue_not_found")),
        ("GET", "/queues/email/jobs/nope", (404, "job_not_found")),
        ("GET", "/nowhere", (404, "not_found")),
        ("PUT", "/queues/status", (405, "method_not_allowed")),
    ],
)
def test_what_is_not_there(client: httpx.Client, method: str, path: str, expected: tuple[int, str]) -> None:
    assert refusal(client.request(method, path)) == expected


Serve = Callable[[QueueOperations], httpx.Client]


def test_read_only_is_403(engine: QueueEngine, reader: QueueReader, serve: Serve) -> None:
    bound = QueueOperations(engine, reader, Settings(), actor=Actor("api", "api"), read_only=True)
    client = serve(bound)
    assert refusal(client.post("/queues/email/pause")) == (403, "read_only")
    assert client.get("/queues/status").status_code == 200


def test_redis_away_is_503(tmp_path: Path, serve: Serve) -> None:
    connection = Connection.from_url(f"unix://{tmp_path}/none.sock")
    away = QueueOperations(QueueEngine(connection), QueueReader(connection), Settings(), actor=Actor("api", "api"))
    answer = serve(away).get("/queues/status")
    assert refusal(answer) == (503, "queue_unavailable")
    assert answer.headers["retry-after"] == "2"


def test_a_fault_of_ours_says_nothing_of_its_inside(
    client: httpx.Client, operations: QueueOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(operations, "all_queues_status", broken)
    answer = client.get("/queues/status")
    assert refusal(answer) == (500, "internal")
    assert "secret" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:30001", "[::1]:30001", "127.8.8.8"])
def test_loopback_names_are_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/queues/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:30001", "", "[::1"])
def test_a_rebound_name_is_not(client: httpx.Client, host: str) -> None:
    assert refusal(client.get("/queues/status", headers={"Host": host})) == (400, "wrong_host")


def test_web_pages_are_kept_out(client: httpx.Client, operations: QueueOperations) -> None:
    for origin in ("https://evil.example", "null"):
        assert refusal(client.post("/queues/email/pause", headers={"Origin": origin})) == (403, "wrong_origin")
    assert operations.audit() == []
    allowed = client.get("/queues/status", headers={"Origin": "http://127.0.0.1:30001"})
    assert allowed.status_code == 200
    assert "access-control-allow-origin" not in allowed.headers


def test_the_docs_are_there(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert "/queues/{queue}/jobs/{job_id}/retry" in paths


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_other_addresses_are_refused_without_tokens(operations: QueueOperations, host: str) -> None:
    settings = Settings.model_construct(api=Settings().api.model_copy(update={"host": host}))
    with pytest.raises(SettingsError, match=r"api\.host.*not loopback"):
        check_address(settings)
    with pytest.raises(SettingsError):
        create_app(operations, settings=settings)


def test_a_taken_port_is_one_line(operations: QueueOperations) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            serve_forever(operations, settings=Settings(api={"port": port}))


def test_reads_and_enqueues_are_quick(client: httpx.Client, operations: QueueOperations) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 5000)
    asks: list[Callable[[], httpx.Response]] = [
        lambda: client.get("/queues/status"),
        lambda: client.get("/queues/email/jobs?end=50"),
        lambda: client.post("/queues/test/send-email", json=MAIL),
    ]
    for ask in asks:
        took = []
        for _ in range(100):
            began = time.perf_counter()
            assert ask().status_code < 300
            took.append(time.perf_counter() - began)
        assert sorted(took)[98] < 0.1


def test_many_at_once(client: httpx.Client, operations: QueueOperations) -> None:
    """Endpoints run in threads over one engine."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/queues/test/send-email", json=MAIL).status_code, range(100)))
    assert answers == [202] * 100
    assert operations.count("email", "waiting") == 100

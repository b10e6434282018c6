"""Real consumers over a real Redis and a real engine: killed in the middle, and many starting at once."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the maker stands beside the tests

from apk_maker import Apk

from cloudq_tui.models.job import JobOptions, JobState
from tasks.service import QueueService

pytestmark = pytest.mark.xdist_group("docker")

ROOT = Path(__file__).parents[3]
ENDED = {JobState.COMPLETED, JobState.FAILED}


@pytest.fixture
def environment(
    redis_url: str, running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, str]]:
    monkeypatch.chdir(tmp_path)

    def settle(**devices: str) -> dict[str, str]:
        settings = {
            "REDIS_URL": redis_url,
            "CLOUDQ_WORKER__LEASE": "2",
            "CLOUDQ_QUEUES__DEVICE_OPERATION__CONCURRENCY": "0",
            "CLOUDQ_DEVICES__DOCKER_URL": running.docker_url,
            "CLOUDQ_DEVICES__ADB__PORT": str(running.adb_port),
            "CLOUDQ_DEVICES__ADB__START": "false",
            "CLOUDQ_DEVICES__IMAGE": "redroid/redroid:cloudq-test",
            "CLOUDQ_DEVICES__DATA_ROOT": str(tmp_path / "devices"),
            "CLOUDQ_DEVICES__CAPACITY__CPU": "5",
            "CLOUDQ_DEVICES__NETWORKS": "cloudq-test",
            "CLOUDQ_DEVICES__DEFAULTS__NETWORK": "cloudq-test",
            "CLOUDQ_DEVICES__DEFAULTS__CPU": "1",
            "CLOUDQ_DEVICES__DEFAULTS__MEMORY": "64m",
            "CLOUDQ_DEVICES__DEFAULTS__STORAGE": "100m",
            "PYTHONPATH": str(ROOT),
        } | devices
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return dict(os.environ)

    return settle


@pytest.fixture
def start_consumer(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    binary = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert binary is not None
    started: list[subprocess.Popen[bytes]] = []

    def start(environment: dict[str, str], *options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "consumer.log").open("ab") as log:
            command = [binary, "tasks.huey", *options]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 45
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def devices(engine: Any, state: str) -> list[Any]:
    found = engine.containers(all=True, filters={"label": "cloudq.device"})
    return [one for one in found if one["State"] == state]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_killed_start_ends_well_with_one_booking(
    kind: str, environment: Callable[..., Any], start_consumer: Callable[..., Any], engine: Any, tmp_path: Path
) -> None:
    log, where = tmp_path / "consumer.log", environment(CLOUDQ_DEVICES__BOOT_ARGS="phone.boot=4")
    with QueueService() as service:
        job_id = service.start_device("device-001", "user-1", {"dpi": 480}).id
        first = start_consumer(where, "-w", "2", "-k", kind)
        wait_until(lambda: bool(devices(engine, "running")), log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        [container] = devices(engine, "running")
        start_consumer(where, "-w", "2", "-k", kind)
        wait_until(lambda: service.job("device-operation", job_id).state in ENDED, log)
        job = service.job("device-operation", job_id)
    assert (job.state, job.stalled, job.attempts_made) == (JobState.COMPLETED, 1, 1), job.error
    assert (job.result["dpi"], job.result["alreadyRunning"]) == (480, False)
    assert [one["Id"] for one in devices(engine, "running")] == [container["Id"]]


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("silent", ["engine", "adb"])
def test_a_silent_peer_ends_the_job_as_a_timeout(
    silent: str,
    kind: str,
    environment: Callable[..., Any],
    start_consumer: Callable[..., Any],
    silent_peer: Callable[..., Any],
    engine: Any,
    tmp_path: Path,
) -> None:
    port = str(silent_peer().port)
    mute = {"engine": ("DOCKER_URL", f"tcp://127.0.0.1:{port}"), "adb": ("ADB__PORT", port)}[silent]
    where = environment(CLOUDQ_QUEUES__DEVICE_OPERATION__RETRIES="0", **{f"CLOUDQ_DEVICES__{mute[0]}": mute[1]})
    with QueueService() as service:
        options = JobOptions(timeout=timedelta(seconds=4))
        job_id = service.start_device("device-001", "user-1", options=options).id
        start_consumer(where, "-w", "2", "-k", kind)
        wait_until(lambda: service.job("device-operation", job_id).state in ENDED, tmp_path / "consumer.log")
        job = service.job("device-operation", job_id)
    assert job.state is JobState.FAILED
    assert "timeout" in str(job.error)
    assert job.finished_on is not None
    assert job.processed_on is not None
    assert job.finished_on - job.processed_on < 5_200
    assert devices(engine, "running") + devices(engine, "created") == []


@pytest.fixture
def slow_shop() -> Iterator[tuple[str, list[str], threading.Event]]:
    """A package whose first download stops in the middle; its URL, the ranges asked for, and the stop."""
    body = Apk(payload=os.urandom(2_000_000)).build()
    asked: list[str] = []
    stopped, release = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            asked.append(self.headers.get("Range", ""))
            start = int(asked[-1][6:-1] or 0) if asked[-1] else 0
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            if len(asked) > 1:
                self.wfile.write(body[start:])
                return
            self.wfile.write(body[:1_000_000])
            self.wfile.flush()
            stopped.set()
            release.wait(60)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/app.apk", asked, stopped
    release.set()
    server.shutdown()
    server.server_close()


def test_a_killed_installation_goes_on_with_its_download(
    environment: Callable[..., Any],
    start_consumer: Callable[..., Any],
    running: Any,
    slow_shop: tuple[str, list[str], threading.Event],
    tmp_path: Path,
) -> None:
    log, (url, asked, stopped) = tmp_path / "consumer.log", slow_shop
    where = environment(
        CLOUDQ_DEVICES__DOWNLOAD__FOLDER=str(tmp_path / "downloads"),
        CLOUDQ_DEVICES__DOWNLOAD__ALLOW_HTTP="true",
        CLOUDQ_DEVICES__DOWNLOAD__ALLOW_PRIVATE="true",
    )
    with QueueService() as service:
        first = start_consumer(where, "-w", "2")
        service.start_device("device-001", "user-1")
        job_id = service.install_app("device-001", "com.example.app", url).id

        def job() -> Any:
            return service.job("device-operation", job_id)

        def retried() -> bool:
            # Claimed first, it finds no device yet: a person retries what failed for good.
            if job().state is JobState.FAILED and not asked:
                service.retry_job("device-operation", job_id)
            return stopped.is_set()

        wait_until(retried, log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        start_consumer(where, "-w", "2")
        wait_until(lambda: job().state in ENDED, log)
        ended = job()
    assert (ended.state, ended.stalled) == (JobState.COMPLETED, 1), ended.error
    assert (ended.result["versionCode"], ended.result["scheme"]) == (7, "v3")
    assert asked[0] == ""
    assert int(asked[1][6:-1]) > 500_000, "it went on from what was there"
    assert list((tmp_path / "downloads").iterdir()) == []


def test_twenty_starts_on_a_host_for_five_book_five(
    environment: Callable[..., Any], start_consumer: Callable[..., Any], engine: Any, tmp_path: Path
) -> None:
    log = tmp_path / "consumer.log"
    where = environment(CLOUDQ_QUEUES__DEVICE_OPERATION__RETRIES="0")
    with QueueService() as service:
        ids = [service.start_device(f"device-{number}", "user-1").id for number in range(20)]
        for _ in range(2):
            start_consumer(where, "-w", "8")
        wait_until(lambda: all(service.job("device-operation", one).state in ENDED for one in ids), log)
        jobs = [service.job("device-operation", one) for one in ids]
    assert Counter(job.state for job in jobs) == {JobState.COMPLETED: 5, JobState.FAILED: 15}
    assert all("the host is full: cpu 1 wanted, 0 of 5 free" in str(job.error) for job in jobs if job.error)
    started = {job.data["deviceId"] for job in jobs if job.state is JobState.COMPLETED}
    assert {one["Labels"]["cloudq.device"] for one in devices(engine, "running")} == started
    assert len(engine.containers(all=True)) == 5

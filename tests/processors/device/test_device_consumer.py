"""Real consumers over a real Redis and a real engine: killed in the middle, and many starting at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.models.job import JobState
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

"""Real consumers: killed amid pictures and logs, and jobs that run longer than they may."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cloudq_tui.models.job import JobOptions, JobState
from tasks.service import QueueService

ROOT = Path(__file__).parents[2]
FILES = 400
ENDED = {JobState.COMPLETED, JobState.FAILED}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def environment(redis_url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    settings = {
        "REDIS_URL": redis_url,
        "CLOUDQ_WORKER__LEASE": "2",
        "CLOUDQ_QUEUES": "image-processing,log-processing",
        "CLOUDQ_IMAGES__ROOTS": str(folder),
        "CLOUDQ_LOGS__ROOTS": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def start_consumer(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    binary = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert binary is not None
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str = "thread") -> subprocess.Popen[bytes]:
        with (tmp_path / "consumer.log").open("ab") as log:
            command = [binary, "tasks.huey", "-w", "3", "-k", kind]
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
        time.sleep(0.02)


def noisy_picture(path: Path, width: int, height: int) -> Path:
    Image.effect_noise((width, height), 60).convert("RGB").save(path, quality=50)
    return path


def test_killed_jobs_on_files_end_well(start_consumer: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "consumer.log"
    contents = {f"{number:03}.log": os.urandom(30_000) * 4 for number in range(FILES)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    picture = noisy_picture(folder / "noise.jpg", 1800, 1500)
    with QueueService() as service:
        archive = service.enqueue("log-processing", "archive-logs", {"paths": ["*.log"]})
        compress = [{"type": "convert", "format": "avif"}, {"type": "compress", "maxBytes": 30_000}]
        image = service.enqueue(
            "image-processing",
            "process-image",
            {"input": str(picture), "operations": compress, "output": "small.avif"},
        )
        first = start_consumer()
        wait_until(lambda: len(list(folder.glob("*.gz"))) >= 20, log)
        wait_until(lambda: service.job("image-processing", image.id).step == "encode", log)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert len(list(folder.glob("*.log"))) > 0, "the archiving was too quick to be killed"
        assert service.job("log-processing", archive.id).state is JobState.ACTIVE
        assert service.job("image-processing", image.id).state is JobState.ACTIVE
        start_consumer()
        wait_until(lambda: service.job("log-processing", archive.id).state in ENDED, log)
        wait_until(lambda: service.job("image-processing", image.id).state in ENDED, log)
        archived, written = service.job("log-processing", archive.id), service.job("image-processing", image.id)
    assert (archived.state, archived.stalled, archived.result["archived"]) == (JobState.COMPLETED, 1, FILES)
    assert archived.result["bytesBefore"] == sum(map(len, contents.values()))
    assert (written.state, written.stalled) == (JobState.COMPLETED, 1)
    for name, content in contents.items():
        assert gzip.decompress((folder / f"{name}.gz").read_bytes()) == content
    expected = {f"{name}.gz" for name in contents} | {"noise.jpg", "small.avif"}
    assert {path.name for path in folder.iterdir()} == expected
    assert (folder / "small.avif").stat().st_size == written.result["size"] <= 30_000


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_job_that_takes_too_long_ends_as_timeout(
    kind: str, start_consumer: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "consumer.log"
    (folder / "app.log").write_bytes(b"2025-10-21 10:30:00 INFO user 17 at 10.0.0.1\n" * 2_000_000)
    picture = noisy_picture(folder / "noise.jpg", 2000, 1500)
    options = JobOptions(timeout=timedelta(seconds=0.5), retries=0)
    with QueueService() as service:
        analysis = service.enqueue("log-processing", "analyze-logs", {"paths": ["*.log"]}, options)
        turns = [{"type": "rotate", "degrees": 1}] * 20  # seconds in all, each a fraction of the bound
        payload = {"input": str(picture), "operations": turns, "output": "small.avif"}
        image = service.enqueue("image-processing", "process-image", payload, options)
        start_consumer(kind)
        for queue, job_id in (("log-processing", analysis.id), ("image-processing", image.id)):
            wait_until(lambda queue=queue, job_id=job_id: service.job(queue, job_id).state in ENDED, log)  # type: ignore[misc]
            job = service.job(queue, job_id)
            assert job.state is JobState.FAILED
            assert "timeout" in job.error
            assert job.processed_on is not None
            assert job.finished_on is not None
            assert job.finished_on - job.processed_on < 1500
    assert {path.name for path in folder.iterdir()} == {"app.log", "noise.jpg"}

"""The embedded worker: supervised, and never longer alive than its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.engine import codec
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import NewJob
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.worker.child import EmbeddedWorker

ROOT = Path(__file__).parents[2]
Until = Callable[..., Any]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> dict[str, str]:
    (tmp_path / "app.py").write_text(
        "import os, time\n"
        "from cloudq_tui.worker.huey import CloudqHuey\n"
        f"huey = CloudqHuey('jobs', url={redis_url!r})\n"
        "@huey.task()\n"
        "def pause(seconds):\n"
        "    time.sleep(seconds)\n"
        "@huey.task()\n"
        "def crash():\n"
        "    os._exit(3)\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


@pytest.fixture
def worker(app: dict[str, str], tmp_path: Path) -> Iterator[EmbeddedWorker]:
    made = EmbeddedWorker("app.huey", log_path=tmp_path / "logs" / "w.log", options=["-w", "2"], environment=app)
    yield made
    made.stop(grace=0.1)


def add(engine: QueueEngine, name: str, *args: Any) -> None:
    engine.add(NewJob(name, "jobs", name, codec.pack_call(args, {})))


def test_it_works_and_stops_gracefully(worker: EmbeddedWorker, engine: QueueEngine, states: Any, until: Until) -> None:
    worker.start()
    assert worker.alive
    add(engine, "pause", 1.0)
    until(lambda: states("jobs").get("active"))
    worker.stop(grace=10.0)
    assert not worker.alive
    assert worker.pid is None
    assert states("jobs") == {"completed": 1}
    assert "Huey consumer started" in worker.log_path.read_text()


def test_after_its_grace_running_jobs_are_given_back(
    worker: EmbeddedWorker, engine: QueueEngine, states: Any, until: Until
) -> None:
    worker.start()
    add(engine, "pause", 60.0)
    until(lambda: states("jobs").get("active"))
    worker.stop(grace=0.2)
    assert not worker.alive
    assert states("jobs") == {"waiting": 1}


def test_it_is_started_again_when_it_crashes(
    worker: EmbeddedWorker, engine: QueueEngine, reader: QueueReader, until: Until
) -> None:
    worker.start()
    first = until(lambda: worker.pid)
    add(engine, "crash")
    until(lambda: worker.alive and worker.pid != first)
    until(lambda: any(one.pid == worker.pid for one in reader.workers()))
    assert worker.restarts >= 1


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_it_ends_when_its_parent_is_killed(
    kind: str,
    app: dict[str, str],
    tmp_path: Path,
    engine: QueueEngine,
    states: Any,
    reader: QueueReader,
    until: Until,
) -> None:
    add(engine, "pause", 60.0)
    log = str(tmp_path / "w.log")
    script = (
        "import time, pathlib\n"
        "from cloudq_tui.worker.child import EmbeddedWorker\n"
        f"EmbeddedWorker('app.huey', log_path=pathlib.Path({log!r}), options=['-w', '2', '-k', {kind!r}]).start()\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **app},
        cwd=tmp_path,
    )
    pids = [one.pid for one in until(lambda: states("jobs").get("active") and reader.workers())]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: all(gone(pid) for pid in pids), 8)
    until(lambda: states("jobs") == {"waiting": 1}, 2, "given back at once, not after its lease")


def test_a_restart_by_sighup_keeps_the_bond_to_the_parent(
    worker: EmbeddedWorker, reader: QueueReader, until: Until
) -> None:
    worker.start()
    until(reader.workers)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGHUP)
    until(lambda: worker.log_path.read_text().count("Huey consumer started") == 2)
    assert worker.restarts == 0
    os.close(worker._pipe)
    worker._pipe = -1
    pid = worker.pid
    until(lambda: worker.pid != pid, 8, "EOF ended it, and it was started again")

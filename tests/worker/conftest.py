"""What the worker's tests share: a huey on the test server, a consumer in threads, a consumer as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.options import LeaseOptions

ROOT = Path(__file__).parents[2]
QUICK = LeaseOptions(lease=2.0, renew=0.4, sweep=0.2)


def wait_for(condition: Callable[[], Any], timeout: float = 20.0, what: str = "") -> Any:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_for


@pytest.fixture
def make_huey(redis_url: str) -> Iterator[Callable[..., CloudqHuey]]:
    made: list[CloudqHuey] = []

    def make(name: str = "jobs", **options: Any) -> CloudqHuey:
        huey = CloudqHuey(name, url=redis_url, **{"lease_options": QUICK, "read_timeout": 0.05, **options})
        made.append(huey)
        return huey

    yield make
    for huey in made:
        huey.leases.stop()
        huey.engine.close()


@pytest.fixture
def huey(make_huey: Callable[..., CloudqHuey]) -> CloudqHuey:
    return make_huey()


@pytest.fixture
def work() -> Callable[..., Any]:
    """Our consumer in threads of this process, while the block runs."""

    @contextmanager
    def working(huey: CloudqHuey, workers: int = 2, **options: Any) -> Iterator[Any]:
        consumer = huey.create_consumer(workers=workers, periodic=False, **options)
        for _, thread in consumer.worker_threads:
            thread.start()
        try:
            yield consumer
        finally:
            consumer.stop_flag.set()
            for _, thread in consumer.worker_threads:
                thread.join(10)
            consumer.exchange.close()
            huey.leases.stop()

    return working


class ConsumerProcess:
    """`huey_consumer module.huey` as a person starts it."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.log = folder / "consumer.log"
        path = os.pathsep.join([str(folder), str(ROOT)])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "huey.bin.huey_consumer", "app.huey", *arguments],
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
                start_new_session=True,
            )

    def kill_all(self) -> None:
        """SIGKILL to the consumer and its worker processes, as a host that dies."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        return self.process.wait(timeout)

    def text(self) -> str:
        return self.log.read_text()


@pytest.fixture
def start_consumer(tmp_path: Path, redis_url: str) -> Iterator[Callable[..., ConsumerProcess]]:
    """Writes `source` as app.py, with `huey` made before it, and starts a consumer on it."""
    started: list[ConsumerProcess] = []

    def start(source: str, *arguments: str, **environment: str) -> ConsumerProcess:
        (tmp_path / "app.py").write_text(
            "import os, time\n"
            "from cloudq_tui.worker.huey import CloudqHuey\n"
            "from cloudq_tui.worker.options import LeaseOptions, QueueOptions\n"
            f"huey = CloudqHuey('jobs', url={redis_url!r}, lease_options=LeaseOptions(2.0, 0.4, 0.2))\n" + source
        )
        consumer = ConsumerProcess(tmp_path, *arguments, environment=environment)
        started.append(consumer)
        return consumer

    yield start
    for consumer in started:
        if consumer.process.poll() is None:
            consumer.kill_all()


@pytest.fixture
def states(reader: QueueReader) -> Callable[[str], dict[str, int]]:
    """Jobs by state of one queue."""

    def of(queue: str) -> dict[str, int]:
        counts = reader.status([queue])[0].counts
        return {name: value for name in counts.__slots__ if (value := getattr(counts, name))}

    return of


@pytest.fixture
def remote(engine: QueueEngine) -> QueueEngine:
    """Somebody else's engine on the same server."""
    return engine

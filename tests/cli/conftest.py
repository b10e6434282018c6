"""Runs the command line as a person does: a process of its own, on this test's Redis."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Backoff
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


@dataclass
class Shell:
    """`shell("status", "--json")` runs a command without a terminal, `shell.at_terminal` with one."""

    environment: dict[str, str]
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "cloudq_tui", *arguments],
            env=self.environment | environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cloudq_tui", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def at_terminal(
        self,
        answer: str,
        *arguments: str,
        when: tuple[bytes, ...] = (b"[y/N]", b"to go on"),
        and_when: Callable[[], bool] = lambda: True,
    ) -> Said:
        """Waits for one of the texts `when` and for `and_when`, types `answer`; stdout and stderr come as one."""
        controller, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, 80))
        process = subprocess.Popen(
            [sys.executable, "-m", "cloudq_tui", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        seen, asked, deadline = b"", False, time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([controller], [], [], 0.1)[0]:
                try:
                    chunk = os.read(controller, 4096)
                except OSError:  # how Linux says that the other end has closed
                    break
                if not chunk:
                    break
                seen += chunk
            if not asked and any(text in seen for text in when) and and_when():
                os.write(controller, answer.encode())
                asked = True
        os.close(controller)
        return Said(process.wait(10), seen.decode(errors="replace"), "")


@pytest.fixture
def shell(redis_url: str, tmp_path: Path) -> Any:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    made = Shell(kept | {"CLOUDQ_REDIS__URL": f"{redis_url}?db=0", "PYTHONPATH": str(ROOT)}, tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Definition:
    queue: str = "email"
    name: str = "send-email"
    priority: int = 5
    retries: int | None = 0
    backoff: Backoff | None = None
    timeout: timedelta | None = None

    def check(self, data: Any) -> dict[str, Any]:
        return dict(data)

    def schema(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def operations(redis_url: str, engine: QueueEngine, reader: QueueReader) -> QueueOperations:
    return QueueOperations(engine, reader, Settings(), actor=Actor("tester", "python"), definitions=[Definition()])


@pytest.fixture
def fail(engine: QueueEngine) -> Callable[[str], str]:
    """Claims the next job of `email` and fails it with an error; its id."""
    from cloudq_tui.engine.records import Finish, Outcome, QueueClaim

    def act(error: str) -> str:
        request = str(time.monotonic_ns())
        (job,) = engine.claim([QueueClaim("email", 1)], worker="w", request=request, lease=9000, limit=1).jobs
        engine.finish([Finish("email", job.id, job.token, Outcome.FAILED, error=error, detail=b"{}")])
        return job.id

    return act

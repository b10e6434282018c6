"""The watcher: a process in a session of its own that owns the server and ends it after the last user."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from cloudq_tui.errors import CloudqError, QueueUnavailable, SettingsError
from cloudq_tui.redis_server.binary import admit, find_server, inspect
from cloudq_tui.redis_server.folder import DataFolder, socket_path
from cloudq_tui.redis_server.probe import Answer, ping
from cloudq_tui.redis_server.process import ServerProcess

LINGER = 3.0
"""Seconds the server stays after its last user, so that one command after the other finds it warm."""

TICK, FIRST_TICK = 0.25, 0.01  # seconds between looks; shorter until the server has answered
TAKEOVER = 60.0  # seconds to wait for a predecessor's server to end
SHORT_LIFE = 2.0  # a server that dies younger than this (seconds) is not started again


class Watcher:
    """`report` is called once: with None when the server answers, else with what is wrong."""

    def __init__(self, folder: DataFolder, program: Path | None, report: Reporter) -> None:
        self._folder = folder
        self._program = program
        self._report = report
        self._users = folder.lock("users")
        self._lock = folder.lock("server")
        self._server: ServerProcess | None = None
        self._started = 0.0
        self._free_since: float | None = None
        self._stopping = False

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def run(self) -> None:
        """Serve until nobody uses the server. Raises SettingsError or QueueUnavailable."""
        if not self._lock.take(time.monotonic() + TAKEOVER, done=self._is_served):
            self._report.ready()  # another watcher was faster
            return
        program = self._program or find_server()
        binary = inspect(program)
        admit(self._folder, binary)
        try:
            self._server = self._start(program)
            while not self._stopping and not self._is_abandoned():
                self._look(self._server, program)
                time.sleep(TICK if self._report.done else FIRST_TICK)
        finally:
            self._end()

    def _is_served(self) -> bool:
        socket = self._folder.read_socket()
        return socket is not None and ping(socket) is Answer.READY

    def _start(self, program: Path) -> ServerProcess:
        socket = socket_path(self._folder.path, self._folder.read_socket())
        Path(socket).unlink(missing_ok=True)  # left by a killed server; the lock says nobody listens there
        server = ServerProcess(program, self._folder.path, socket, lock=self._lock.fd)
        self._started = time.monotonic()
        self._folder.write_address(socket, watcher=os.getpid(), server=server.pid)
        return server

    def _look(self, server: ServerProcess, program: Path) -> None:
        if not server.is_alive() and (not self._report.done or time.monotonic() - self._started < SHORT_LIFE):
            raise QueueUnavailable(f"the embedded Redis ended by itself: {self._folder.last_words()}")
        if not self._report.done:
            if ping(str(server.socket)) is Answer.READY:
                self._report.ready()
        elif not server.is_alive() or not server.socket.exists():
            # Killed; or the user's session ended and took its runtime folder along.
            server.stop()
            self._server = self._start(program)
        else:
            self._folder.cap_log()

    def _is_abandoned(self) -> bool:
        """Whether the last user went some time ago; then users.lock is ours until this process ends."""
        if not self._lock.is_current():
            return True  # the data folder itself was removed
        if not self._users.try_take():
            self._free_since = None
            return False
        now = time.monotonic()
        self._free_since = self._free_since or now
        if now - self._free_since >= LINGER:
            return True
        self._users.release()
        return False

    def _end(self) -> None:
        """The order is the promise: no server, then no server lock, then users may come in."""
        if self._server:
            self._server.stop()
            if self._lock.is_current():
                self._folder.write_address(str(self._server.socket))
        self._lock.close()
        self._users.close()


class Reporter:
    """Tells the process that started the watcher, through a pipe, how it went; that process may be gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.done = False

    def ready(self) -> None:
        self._say("ready")

    def fail(self, error: CloudqError) -> None:
        self._say(f"{'settings' if isinstance(error, SettingsError) else 'unavailable'} {error}")

    def _say(self, line: str) -> None:
        if self.done:
            return
        self.done = True
        try:
            os.write(self._fd, line.replace("\n", " ").encode() + b"\n")
        except OSError:
            return
        finally:
            os.close(self._fd)


def main() -> int:
    """Entry of `python -m cloudq_tui.redis_server DATA_DIR --report FD [--program PATH]`."""
    parser = argparse.ArgumentParser(prog="cloudq_tui.redis_server")
    parser.add_argument("data", type=Path)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--program", type=Path)
    given = parser.parse_args()
    if os.fork():
        os._exit(0)  # the starter collects this process; the watcher is nobody's child
    os.umask(0o077)
    report = Reporter(given.report)
    watcher = Watcher(DataFolder(given.data), given.program, report)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, watcher.stop)
    try:
        watcher.run()
    except CloudqError as error:
        print(f"watcher {os.getpid()}: {error}", file=sys.stderr)  # noqa: T201 - stderr is the log file
        report.fail(error)
        return 1
    return 0

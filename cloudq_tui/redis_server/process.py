"""The server as a child that cannot outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT = 4.0  # seconds for a clean end; every acknowledged write is on disk, so a kill loses none


class ServerProcess:
    """A running server on one data folder. `lock` is an open descriptor that it holds for as long as it lives."""

    def __init__(self, program: Path, data: Path, socket: str, *, lock: int) -> None:
        arguments = {
            "port": "0",
            "unixsocket": socket,
            "unixsocketperm": "700",
            "dir": str(data),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",  # everysec lost acknowledged writes to kill -9
            "daemonize": "no",
            "logfile": "",
            "loglevel": "warning",
        }
        command = [str(program), *(word for key, value in arguments.items() for word in (f"--{key}", value))]
        on_linux = sys.platform == "linux"
        self.socket = Path(socket)
        self._process = subprocess.Popen(  # noqa: S603 - a program of the wheel or of PATH, started as this user
            command,
            stdin=subprocess.DEVNULL,
            cwd="/",
            pass_fds=(lock,),
            preexec_fn=_die_with_parent() if on_linux else None,  # noqa: PLW1509 - this process has one thread
        )
        self._guard = None if on_linux else Guard(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, cleanly if it can be had within 4 s."""
        if self._guard:
            self._guard.dismiss()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.socket.unlink(missing_ok=True)


def _die_with_parent() -> Callable[[], None]:
    """For between fork and exec: have the kernel kill the child when this thread's process ends."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the tie held
            os._exit(1)

    return tie


class Guard:
    """The same where the kernel has no such service: a shell that waits for the end of a pipe only this process
    holds, then kills."""

    def __init__(self, pid: int) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - a fixed script
            ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "cloudq-guard", str(pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Before the pid it watches is given up and may become another's."""
        self._shell.kill()
        self._shell.communicate()

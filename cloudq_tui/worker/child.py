"""The embedded worker: `huey_consumer` as a child process, supervised, that never outlives its parent.

A consumer installs signal handlers and may re-execute itself, so it cannot be a thread of the dashboard; and a
processor that hogs its interpreter, or crashes it, must not touch the view. The child holds the read end of a pipe
whose write end the parent keeps: when the parent ends, however it does, the pipe reads EOF and the child stops.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger("cloudq.worker")

_LONGEST_PAUSE = 30.0  # seconds before a worker that keeps crashing is started again
_STABLE = 60.0  # seconds of life after which a crash counts as the first one again
_LOG_LIMIT = 5_000_000  # bytes; a longer log is moved aside when the worker starts
_PIPE = "CLOUDQ_PARENT_PIPE"


class EmbeddedWorker:
    """Keeps one consumer of `target` (`module.huey`) running until `stop`.

    `options` are huey_consumer's (`-w 4`). The child inherits the environment, overlaid with `environment`.
    """

    def __init__(
        self,
        target: str,
        *,
        log_path: Path,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log_path = log_path
        self._command = [sys.executable, "-m", "cloudq_tui.worker.child", target, *options]
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._watcher: threading.Thread | None = None
        self.restarts = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.alive else None

    def start(self) -> None:
        """Start the child and the thread that starts it again when it dies. Raises OSError."""
        self._stopping.clear()
        self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="cloudq-worker-watch", daemon=True)
        self._watcher.start()

    def stop(self, grace: float = 10.0) -> None:
        """Let running jobs finish for `grace` seconds; then they are given back, 2 s; then the child is killed."""
        self._stopping.set()
        with self._guard:
            process = self._process
            if process is not None and process.poll() is None:
                for number, patience in ((signal.SIGINT, grace), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
                    if number == signal.SIGKILL:
                        os.killpg(process.pid, number)  # its worker processes too
                    else:
                        process.send_signal(number)
                    try:
                        process.wait(patience)
                        break
                    except subprocess.TimeoutExpired:
                        continue
            self._close_pipe()
        if self._watcher is not None:
            self._watcher.join(1.0)

    def _spawn(self) -> None:
        with self._guard:
            if self._stopping.is_set():
                return
            self._close_pipe()
            self._rotate()
            read_end, self._pipe = os.pipe()
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self.log_path.open("ab") as log:
                    self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                        self._command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=(read_end,),
                        env={**os.environ, **self._environment, _PIPE: str(read_end)},
                        start_new_session=True,  # a Ctrl-C at the dashboard is the dashboard's alone
                    )
            finally:
                os.close(read_end)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _rotate(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_LIMIT:
            self.log_path.replace(self.log_path.with_suffix(self.log_path.suffix + ".1"))

    def _watch(self) -> None:
        pause = 0.5
        while not self._stopping.is_set():
            began, process = time.monotonic(), self._process
            if process is None:
                return
            code = process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _STABLE:
                pause = 0.5
            logger.warning("the embedded worker ended with status %s and starts again in %.1f s", code, pause)
            if self._stopping.wait(pause):
                return
            pause = min(_LONGEST_PAUSE, pause * 2)
            self.restarts += 1
            try:
                self._spawn()
            except OSError:
                logger.exception("the embedded worker cannot be started")


def _end_with_parent(descriptor: int) -> None:
    """Wait for the parent's end of the pipe to close; then give running jobs back and go."""
    while True:
        try:
            if not os.read(descriptor, 1):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5.0)  # what the consumer needs at most to release its jobs
    os._exit(1)


def main() -> None:
    """Run huey_consumer with this process's arguments, bound to its parent's life."""
    descriptor = os.environ.pop(_PIPE, "")
    if descriptor:
        # Worker processes forked later must not keep it, and an exec on SIGHUP must.
        os.environ[_PIPE] = descriptor
        os.set_inheritable(int(descriptor), True)
        threading.Thread(target=_end_with_parent, args=(int(descriptor),), name="cloudq-parent", daemon=True).start()
    from huey.bin.huey_consumer import consumer_main  # noqa: PLC0415 - after the watch on the parent has begun

    consumer_main()


if __name__ == "__main__":
    main()

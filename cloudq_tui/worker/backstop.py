"""The thread that keeps an exchange's promises when no other one comes by, because all of them are busy."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("cloudq.worker")


class Backstop:
    """`due` says when something will have waited for too long (`time.monotonic()`, None: nothing waits), and `keep`
    does what was promised by then."""

    def __init__(self, due: Callable[[], float | None], keep: Callable[[], None]) -> None:
        self._due = due
        self._keep = keep
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun. Not thread-safe."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="cloudq-flush", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Something waits from now on."""
        if not self._awake.is_set():
            self._awake.set()

    def _watch(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            while (due := self._due()) is not None:
                left = due - time.monotonic()
                if left > 0:
                    time.sleep(left)
                    continue
                try:
                    self._keep()
                except Exception:
                    logger.exception("the flushing thread met an error and goes on")

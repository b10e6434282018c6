"""One JSON line per start and end of a job, on the logger `cloudq.worker`. No payload: it may hold addresses.

A busy worker writes tens of thousands of them in a second, and a LogRecord and a write for each would cost more than
the rest of the job. So as long as the logger's only handler is the one `install` gave it, lines go by it as they are,
and lie there until `flush`: the exchange calls it with each of its calls and at least every few milliseconds.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from select import PIPE_BUF
from typing import TextIO

from cloudq_tui.engine.records import ClaimedJob, Finish, Outcome

logger = logging.getLogger("cloudq.worker")

_EVENTS = {
    Outcome.COMPLETED: "queue_job_complete",
    Outcome.FAILED: "queue_job_failed",
    Outcome.RETRY: "queue_job_failed",
}


class _Lines(logging.StreamHandler):  # type: ignore[type-arg]
    """Bare messages on stderr, in their order."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lying: list[str] = []
        self._whole = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        self.write_out()
        super().emit(record)

    def write_out(self) -> None:
        with self._whole:
            lines = self.lying[:]  # others may append meanwhile
            del self.lying[: len(lines)]
            text = "\n".join([*lines, ""])
            with suppress(OSError):  # stderr may be gone: the job goes on
                while text:
                    # A pipe keeps that much together, whoever else writes into it.
                    end = (text.rfind("\n", 0, PIPE_BUF) if len(text) > PIPE_BUF else -1) + 1 or len(text)
                    self.stream.write(text[:end])
                    self.stream.flush()
                    text = text[end:]


def install(level: int | None = None) -> None:
    """Write to stderr, unless the application has set this logger up itself.

    Huey's own line per start and end of a job would say the same again: it is left to `--verbose`.
    """
    if logger.handlers:
        return
    handler = _Lines(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    huey = logging.getLogger("huey")
    if logger.level == logging.NOTSET:
        logger.setLevel(level if level is not None else max(logging.INFO, huey.level))
    if huey.level == logging.INFO:
        logging.getLogger("huey.consumer").setLevel(logging.INFO)
        huey.setLevel(logging.WARNING)


def about(claim: ClaimedJob) -> str:
    """Which job a line is about, once for both of its lines."""
    place = _place(claim.queue, claim.name)
    return f'"queue":{place[0]},"jobId":{quoted(claim.id)},"job":{place[1]},"attempt":{claim.failures + 1}'


def started(job: str) -> None:
    if logger.isEnabledFor(logging.INFO):
        _say(f'{{"type":"queue_job_start",{job}}}')


def ended(job: str, finish: Finish, seconds: float) -> None:
    """A deferred or released job has not ended: it says nothing."""
    event = _EVENTS.get(finish.outcome)
    if event is not None and logger.isEnabledFor(logging.INFO):
        _say(f'{{"type":"{event}",{job},"duration":{round(seconds * 1000, 1)}}}')


def flush() -> None:
    """Write what was said so far."""
    for handler in logger.handlers:
        if type(handler) is _Lines:
            handler.write_out()


def _say(line: str) -> None:
    handlers = logger.handlers
    if len(handlers) == 1 and type(handlers[0]) is _Lines:
        handlers[0].lying.append(line)
    else:
        logger.info("%s", line)


@lru_cache(maxsize=512)
def _place(queue: str, name: str) -> tuple[str, str]:
    return quoted(queue), quoted(name)

"""Shows how far a job has come, by bytes where files differ in size, and lets it end in between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from cloudq_tui.errors import JobSignal
from cloudq_tui.models.context import JobContext

_FROM, _TO = 5, 95


class FileProgress:
    """`files` files with `work` units between them. Its methods raise what ends the job."""

    def __init__(self, job: JobContext, files: int, work: int) -> None:
        self._job = job
        self._files = files
        self._work = max(1, work)
        self._number = 0
        self._done = 0

    def next_file(self) -> None:
        self._number += 1
        self._show(self._done)

    def advance(self, count: int) -> None:
        """So many units more."""
        self._done += count
        self._show(self._done)

    def following(self, position: Callable[[], int]) -> Callable[[], None]:
        """What shows how far the current file has come by `position`, in units from its beginning."""
        start = self._done

        def look() -> None:
            self._done = start + position()
            self._show(self._done)

        return look

    def end(self) -> None:
        """All is done: a cancellation or timeout that arrives now can no longer undo it."""
        with suppress(JobSignal):
            self._job.update_progress(100, "done")

    def _show(self, done: int) -> None:
        share = min(1.0, done / self._work)
        self._job.update_progress(_FROM + (_TO - _FROM) * share, f"{self._number} of {self._files}")

"""A bulk act while it runs: moved, skipped, remaining, and Esc that stops it where it is."""

from __future__ import annotations

import threading
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cloudq_tui.models.queue import BulkResult
from cloudq_tui.tui import render
from cloudq_tui.tui.screens.base import Dialog
from cloudq_tui.tui.widgets.lines import Block


class BulkProgress:
    """Shared with the thread that acts: it reports here, and learns here that it shall stop."""

    def __init__(self) -> None:
        self.result = BulkResult()
        self._stop = threading.Event()

    def report(self, result: BulkResult) -> bool:
        """The operations' on_progress: False stops."""
        self.result = result
        return not self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()


class RunningScreen(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "keep", "stop here")]

    def __init__(self, title: str, progress: BulkProgress) -> None:
        super().__init__()
        self.heading = title
        self.progress = progress

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="running") as box:
            box.border_title = self.heading
            yield Block([], id="figures")
            yield Block([(("esc stop here; what is done stays done", "muted"),)], id="keys")

    def on_mount(self) -> None:
        self._show()
        self.set_interval(0.2, self._show)

    def _show(self) -> None:
        done = self.progress.result
        total = done.moved + done.skipped + done.remaining
        percent = 100 * (done.moved + done.skipped) / total if total else 0
        figures = f"moved {render.exact(done.moved)}   skipped {render.exact(done.skipped)}   "
        figures += f"remaining {render.exact(done.remaining)}"
        state = "   stopping…" if self.progress.stopping else ""
        lines = [render.bar(percent, 56), ((figures, "plain"), (state, "warn"))]
        for figures_view in self.query("#figures").results(Block):  # none while the screen comes or goes
            figures_view.show(lines)

    def action_keep(self) -> None:
        self.progress.stop()
        self._show()

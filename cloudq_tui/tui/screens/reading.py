"""Screens to read and close: the keys, a verdict, the worker's log, and the farewell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Log

from cloudq_tui.tui.render import Line
from cloudq_tui.tui.screens.base import Dialog, Roomy
from cloudq_tui.tui.text import lines as visible_lines
from cloudq_tui.tui.widgets.key_line import KeyLine
from cloudq_tui.tui.widgets.lines import Block, LineView

_TAIL = 256 * 1024


class NoteScreen(Dialog[None]):
    """Prepared lines in a box: help and verdicts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,q,question_mark,w", "keep", "close", show=False),
        Binding("j", "scroll(1)", "down", show=False),
        Binding("k", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__()
        self.heading = title
        self.lines = tuple(lines)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="note-box") as box:
            box.border_title = self.heading
            box.border_subtitle = "esc close"
            with VerticalScroll():
                yield Block(self.lines)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, step: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=step, animate=False)


class WorkerLogScreen(Roomy[None]):
    """Follows the embedded worker's log file; reads only what is new."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "back", key_display="esc"),
        Binding("j", "scroll(1)", "down", show=False),
        Binding("k", "scroll(-1)", "up", show=False),
        Binding("g", "ends(True)", "top", show=False),
        Binding("G", "ends(False)", "bottom", show=False),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._offset = 0
        self._partial = b""

    def compose(self) -> ComposeResult:
        yield LineView(id="title")
        yield Log(max_lines=5000, highlight=False, id="log")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        self._follow()
        self.set_interval(1.0, self._follow)

    def _follow(self) -> None:
        title: Line = ((" worker log  ", "strong"), (str(self.path), "muted"))
        try:
            fresh = self._fresh()
        except OSError as error:
            fresh, title = "", (*title, (f"  ✗ {error.strerror or error}", "bad"))
        self.query_one("#title", LineView).show(title)
        if fresh:
            self.query_one(Log).write_lines(visible_lines(fresh))

    def _fresh(self) -> str:
        """Whole lines written since the last look; from the start again if a shorter file took its place."""
        with self.path.open("rb") as log:
            end = log.seek(0, 2)
            if end < self._offset:
                self._offset, self._partial = 0, b""
            self._offset = max(self._offset, end - _TAIL)
            log.seek(self._offset)
            data = self._partial + log.read(_TAIL)
            self._offset = log.tell()
        whole, newline, self._partial = data.rpartition(b"\n")
        return (whole + newline).decode("utf-8", "replace")

    def action_close(self) -> None:
        self.dismiss()

    def action_scroll(self, step: int) -> None:
        self.query_one(Log).scroll_relative(y=step, animate=False)

    def action_ends(self, top: bool) -> None:
        log = self.query_one(Log)
        if top:
            log.scroll_home(animate=False)
        else:
            log.scroll_end(animate=False)


class FarewellScreen(Dialog[None]):
    """Shown while the embedded worker ends its jobs."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="farewell"):
            yield Block([(("stopping worker…", "strong"), ("  q again leaves at once", "muted"))])

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,ctrl+q,ctrl+c", "leave", "leave", priority=True)]

    def action_leave(self) -> None:
        self.app.exit()

    def action_keep(self) -> None:
        """The worker is already asked to stop; there is no way back."""

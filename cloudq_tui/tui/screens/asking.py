"""Dialogs that ask for more than yes or no: how to pause, what to clean."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from cloudq_tui.models.job import JobState
from cloudq_tui.tui import durations, render
from cloudq_tui.tui.render import Line
from cloudq_tui.tui.screens.base import Dialog
from cloudq_tui.tui.widgets.lines import Block, Choice, Choices

CLEANABLE = (JobState.COMPLETED, JobState.FAILED, JobState.DELAYED)


@dataclass(frozen=True, slots=True)
class PauseWish:
    """`duration` None: until somebody resumes it."""

    why: str
    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class CleanWish:
    """`grace` in ms."""

    state: JobState
    grace: int


class PauseScreen(Dialog[PauseWish]):
    """Both fields may stay empty: Enter pauses plainly."""

    def __init__(self, queue: str, active: int) -> None:
        super().__init__()
        self.queue = queue
        self.active = active

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="pause") as box:
            box.border_title = f"Pause {self.queue}"
            yield Block([((f"No more jobs of {self.queue} start.{self._still_active()}", "plain"),)])
            with Horizontal(classes="ask"):
                yield Block([(("why  ", "strong"),)])
                yield Input(compact=True, id="why", placeholder="optional, shown to the others", max_length=200)
            with Horizontal(classes="ask"):
                yield Block([(("for  ", "strong"),)])
                yield Input(compact=True, id="for", placeholder="optional: 15m, 2h; then it resumes by itself")
            yield Block([(("same as: ", "dim"), (f"cloudq-tui pause {self.queue}", "muted"))], id="same")
            yield Block([], id="note")
            yield Block([_keys("⏎ pause")], id="keys")

    def _still_active(self) -> str:
        return f" {render.plural(self.active, 'active job')} end first." if self.active else ""

    def on_mount(self) -> None:
        self.query_one("#why").focus()

    def on_input_changed(self) -> None:
        """The command grows with what is typed."""
        why = self.query_one("#why", Input).value.strip()
        time = self.query_one("#for", Input).value.strip()
        given = [time, shlex.quote(why) if why else ""]
        command = " ".join(filter(None, ["cloudq-tui pause", self.queue, *given]))
        self.query_one("#same", Block).show([(("same as: ", "dim"), (command, "muted"))])
        self.query_one("#note", Block).show([])

    def on_input_submitted(self) -> None:
        time = self.query_one("#for", Input).value.strip()
        try:
            duration = durations.parse(time) if time else None
        except ValueError as error:
            self.query_one("#note", Block).show([((f"✗ {error}", "bad"),)])
            self.query_one("#for").focus()
            return
        self.dismiss(PauseWish(self.query_one("#why", Input).value.strip(), duration))


class CleanScreen(Dialog[CleanWish]):
    """State and grace; how many that touches is counted and asked next."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "count", "count")]

    def __init__(self, queue: str, state: JobState, *, paused: bool) -> None:
        """While a queue is `paused`, its waiting jobs are called paused."""
        super().__init__()
        self.queue = queue
        self.states = (*CLEANABLE, JobState.PAUSED if paused else JobState.WAITING)
        self.state = state if state in self.states else JobState.COMPLETED

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="clean") as box:
            box.border_title = f"Clean {self.queue}"
            yield Block([(("Finished or waiting jobs older than the grace leave the queue.", "plain"),)])
            with Horizontal(classes="ask"):
                yield Block([(("state ", "strong"),)])
                yield Choices(id="state", focusable=True)
            with Horizontal(classes="ask"):
                yield Block([(("older than  ", "strong"),)])
                yield Input("24h", compact=True, id="grace", select_on_focus=True)
            yield Block([], id="note")
            yield Block([_keys("⏎ count, then ask")], id="keys")

    def on_mount(self) -> None:
        self._show()
        self.query_one("#state").focus()

    def _show(self) -> None:
        options = [Choice(state.value, ((state.value, "plain"),)) for state in self.states]
        self.query_one("#state", Choices).show(options, self.state.value)

    def on_choices_chosen(self, event: Choices.Chosen) -> None:
        self.state = JobState(event.key)
        self._show()

    def on_input_submitted(self) -> None:
        self.action_count()

    def action_count(self) -> None:
        try:
            grace = durations.parse(self.query_one("#grace", Input).value.strip())
        except ValueError as error:
            self.query_one("#note", Block).show([((f"✗ {error}", "bad"),)])
            self.query_one("#grace").focus()
            return
        self.dismiss(CleanWish(self.state, round(grace.total_seconds() * 1000)))


def _keys(act: str) -> Line:
    return (("esc keep   ⇥ next field   ", "muted"), (act, "key"))

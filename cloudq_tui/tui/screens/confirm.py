"""The dialog before an act. The safe answer is the default, and Esc means that nothing happened."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input

from cloudq_tui.tui.questions import Question
from cloudq_tui.tui.screens.base import Dialog
from cloudq_tui.tui.widgets.lines import Block


class ConfirmScreen(Dialog[bool]):
    """True only when the person said so: `y`, the button, or the typed phrase and Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "go_on", "yes"),
        Binding("n", "keep", "no", show=False),
        Binding("left,up,h,k", "app.focus_previous", "other button", show=False),
        Binding("right,down,l,j", "app.focus_next", "other button", show=False),
    ]

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        question = self.question
        with Vertical(classes="dialog", id="confirm") as box:
            box.border_title = question.title
            yield Block(question.lines)
            if question.command:
                yield Block([(("same as: ", "dim"), (question.command, "muted"))])
            if question.phrase:
                with Horizontal(classes="ask"):
                    yield Block([((f"Type {question.phrase} to go on: ", "strong"),)], id="prompt")
                    yield Input(compact=True, id="phrase")
            go_key = "⏎" if question.phrase else "y"
            with Horizontal(classes="buttons"):
                yield Button(f"esc {question.keep}", compact=True, id="keep")
                yield Button(f"{go_key} {question.verb}", compact=True, id="go", disabled=bool(question.phrase))

    def on_mount(self) -> None:
        self.query_one("#phrase" if self.question.phrase else "#keep").focus()

    def _agreed(self) -> bool:
        return not self.question.phrase or self.query_one("#phrase", Input).value.strip() == self.question.phrase

    def on_input_changed(self) -> None:
        self.query_one("#go", Button).disabled = not self._agreed()

    def on_input_submitted(self) -> None:
        self.action_go_on()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "go":
            self.action_go_on()
        else:
            self.action_keep()

    def action_go_on(self) -> None:
        if self._agreed():
            self.dismiss(True)

    def action_keep(self) -> None:
        self.dismiss(False)

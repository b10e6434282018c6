"""What all screens share: the line that asks for more room, the view that follows the poller, and the filter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from rich.console import RenderableType
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.screen import ModalScreen, Screen
from textual.widgets import Input

from cloudq_tui.tui import headline
from cloudq_tui.tui.messages import Look
from cloudq_tui.tui.render import Line
from cloudq_tui.tui.widgets.lines import LineView

if TYPE_CHECKING:
    from cloudq_tui.tui.app import CloudqApp

ResultT = TypeVar("ResultT")
MIN_COLUMNS, MIN_LINES = 60, 18


class Roomy(Screen[ResultT]):
    """A screen that, when the terminal is too small for it, shows one line and nothing else."""

    @property
    def cloudq(self) -> CloudqApp:
        return cast("CloudqApp", self.app)

    def render(self) -> RenderableType:
        if self.app.has_class("-cramped"):
            width, height = self.app.size
            return Text(f"cloudq-tui needs {MIN_COLUMNS}x{MIN_LINES}, this is {width}x{height}", overflow="crop")
        return super().render()


class Dialog(Roomy[ResultT], ModalScreen[ResultT]):
    """Esc always means: nothing happened."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "keep", "keep")]

    def action_keep(self) -> None:
        self.dismiss(None)


class LiveScreen(Roomy[None]):
    """Shows the app's last snapshot and, if it asks for more, the answer to its own look."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = ""

    def look(self) -> Look | None:
        """What to read beside the snapshot."""
        return None

    def take(self, look: Look, seen: Any) -> None:
        """The answer to `look`, or the error it met."""

    def refresh_view(self) -> None:
        """Show what is known now; widgets repaint only where something changed."""
        # A screen that is coming or going has not all its widgets, and nobody to look at them.
        with contextlib.suppress(NoMatches):
            self.draw()

    def draw(self) -> None:
        """Give every widget what it shows."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.refresh_view()

    def on_resize(self, _event: events.Resize) -> None:
        self.refresh_view()

    def on_screen_resume(self) -> None:
        self.refresh_view()
        self.cloudq.poller.poll()

    def banner(self) -> Line:
        """The line that says Redis is away; empty while it answers."""
        pulse = self.cloudq.poller.pulse()
        if not pulse.reason:
            return ()
        return ((" ", "plain"), *headline.away(pulse, met=self.cloudq.snapshot is not None))

    def show_banner(self) -> None:
        view = self.query_one("#banner", LineView)
        line = self.banner()
        view.display = bool(line)
        view.show(line)

    def matches(self, *texts: str) -> bool:
        """Whether a row is wanted by the filter."""
        wanted = self.filter.lower()
        return not wanted or any(wanted in text.lower() for text in texts)

    def action_filter(self) -> None:
        line = self.query_one(Input)
        line.display = True
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.filter = event.value
        self.refresh_view()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.leave_filter()

    def leave_filter(self) -> None:
        """Close the line; what was typed goes on to narrow until Esc."""
        self.query_one(Input).display = False
        self.query("Rows").first().focus()

    def widen(self) -> bool:
        """Drop the filter; False if there was none."""
        line = self.query_one(Input)
        if not self.filter and not line.display:
            return False
        line.value = ""
        self.filter = ""
        self.leave_filter()
        self.refresh_view()
        return True

    def action_back(self) -> None:
        if not self.widen():
            self.dismiss()


class FilterLine(Input):
    """One line at the bottom; hidden until asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "keep"),
        Binding("escape", "screen.back", "show all"),
    ]

    def __init__(self) -> None:
        super().__init__(placeholder="filter", compact=True, id="filter", select_on_focus=False)
        self.display = False

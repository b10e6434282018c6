"""Widgets that show prepared lines: one, a wrapped block, a row of choices. They repaint on change only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

from rich.text import Text
from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from cloudq_tui.tui.render import Line, Span
from cloudq_tui.tui.text import width
from cloudq_tui.tui.theme import Palette


class _Painted(Protocol):
    palette: Palette


def palette_of(app: App[Any]) -> Palette:
    return cast("_Painted", app).palette


def painted(line: Iterable[Span], palette: Palette) -> Text:
    """A line as rich text; never parsed as markup."""
    text = Text(no_wrap=True, end="", overflow="crop")
    for part, tone in line:
        text.append(part, palette[tone])
    return text


class LineView(Widget):
    """One line of the screen."""

    DEFAULT_CSS = "LineView { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self.line: Line = ()

    def show(self, line: Line) -> None:
        if line != self.line:
            self.line = line
            self.refresh()

    def render(self) -> Text:
        return painted(self.line, palette_of(self.app))


class Block(Static):
    """Several lines that wrap; the height follows."""

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__("", id=id, markup=False)
        self.lines: tuple[Line, ...] = tuple(lines)

    def on_mount(self) -> None:
        self.repaint()

    def show(self, lines: Sequence[Line]) -> None:
        if tuple(lines) != self.lines:
            self.lines = tuple(lines)
            self.repaint()

    def repaint(self) -> None:
        palette = palette_of(self.app)
        text = Text(end="", overflow="fold")
        for index, line in enumerate(self.lines):
            if index:
                text.append("\n")
            for part, tone in line:
                text.append(part, palette[tone])
        self.update(text)


@dataclass(frozen=True, slots=True)
class Choice:
    key: str
    line: Line


class Choices(Widget):
    """One of several, in a row: left and right or a click choose."""

    DEFAULT_CSS = "Choices { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: clip; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "previous", show=False),
        Binding("right,l", "step(1)", "next", show=False),
    ]

    class Chosen(Message):
        def __init__(self, choices: Choices, key: str) -> None:
            super().__init__()
            self.choices = choices
            self.key = key

        @property
        def control(self) -> Choices:
            return self.choices

    def __init__(self, *, id: str | None = None, focusable: bool = False) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.can_focus = focusable
        self.options: tuple[Choice, ...] = ()
        self.selected = ""

    def show(self, options: Sequence[Choice], selected: str) -> None:
        if (tuple(options), selected) != (self.options, self.selected):
            self.options, self.selected = tuple(options), selected
            self.refresh()

    def action_step(self, step: int) -> None:
        keys = [option.key for option in self.options]
        if keys:
            place = keys.index(self.selected) if self.selected in keys else 0
            self.post_message(self.Chosen(self, keys[(place + step) % len(keys)]))

    def render(self) -> Text:
        palette = palette_of(self.app)
        text = Text(no_wrap=True, end="", overflow="crop")
        for option in self.options:
            chosen = option.key == self.selected
            text.append("[" if chosen else " ", palette["key"])
            text.append_text(painted(option.line, palette))
            text.append("]" if chosen else " ", palette["key"])
        if self.has_focus:
            text.append("  ← →", palette["dim"])
        return text

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        start = 0
        for option in self.options:
            end = start + 2 + sum(width(part) for part, _ in option.line)
            if start <= event.x < end:
                self.post_message(self.Chosen(self, option.key))
                return
            start = end

"""The last line: the keys that work here and now, as many as fit, help always."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from cloudq_tui.tui.text import width
from cloudq_tui.tui.widgets.lines import palette_of

_ALWAYS = {"ask_help"}
_LAST = {"tab(1)", "command_palette"}


class KeyLine(Widget):
    """Reads the active bindings of its screen; a click does what the key does."""

    DEFAULT_CSS = "KeyLine { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self) -> None:
        super().__init__()
        self._hints: list[tuple[str, str, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self._collect()

    def _changed(self, _screen: Screen[object]) -> None:
        if self.is_attached and self.screen.is_current:
            self._collect()

    def _collect(self) -> None:
        hints: list[tuple[str, str, str]] = []
        seen: set[str] = set()
        focused = self.screen.focused
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if isinstance(focused, Input) and active.node is not focused:
                continue  # what is typed there is text
            if not binding.show or not active.enabled or not binding.description or binding.action in seen:
                continue
            seen.add(binding.action)
            hints.append((self.app.get_key_display(binding), binding.description, binding.action))
        if hints != self._hints:
            self._hints = hints
            self.refresh()

    def fitting(self, columns: int) -> list[tuple[str, str, str]]:
        """The hints that fit: those of the place first, help always."""
        last = [hint for hint in self._hints if hint[2] in _ALWAYS]
        # The gap after the last hint may hang over the edge.
        room = columns + 1 - sum(_width(hint) for hint in last)
        chosen = []
        for hint in sorted(self._hints, key=lambda hint: hint[2] in _LAST):
            if hint in last:
                continue
            if _width(hint) > room:
                break
            chosen.append(hint)
            room -= _width(hint)
        return chosen + last

    def render(self) -> Text:
        palette = palette_of(self.app)
        text = Text(" ", no_wrap=True, end="", overflow="crop")
        for key, label, _ in self.fitting(self.size.width):
            text.append(key, palette["key"])
            text.append(f" {label}  ", palette["muted"])
        return text

    async def on_click(self, event: events.Click) -> None:
        start = 1
        for hint in self.fitting(self.size.width):
            if start <= event.x < start + _width(hint):
                for active in self.screen.active_bindings.values():
                    if active.binding.action == hint[2]:
                        await self.app.run_action(hint[2], active.node)
                        return
            start += _width(hint)


def _width(hint: tuple[str, str, str]) -> int:
    return width(hint[0]) + 1 + width(hint[1]) + 2

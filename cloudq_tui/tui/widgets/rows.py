"""A table of prepared rows that repaints the lines that changed and no other.

Textual's DataTable repaints whole and reads strings as markup; this one keeps the cursor on the same row while rows
move, and what it shows is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cloudq_tui.tui.render import Span
from cloudq_tui.tui.tables import Column, Row, lay
from cloudq_tui.tui.text import fit
from cloudq_tui.tui.widgets.lines import palette_of


class Rows(ScrollView, can_focus=True):
    """Rows with a cursor. `header` shows the columns' labels on a line that does not scroll."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "open"),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("g,home", "move_to(0)", "first", show=False),
        Binding("G,end", "move_to(-1)", "last", show=False),
        Binding("ctrl+d", "move_by_pages(0.5)", "half a page down", show=False),
        Binding("ctrl+u", "move_by_pages(-0.5)", "half a page up", show=False),
        Binding("pagedown", "move_by_pages(1)", "page down", show=False),
        Binding("pageup", "move_by_pages(-1)", "page up", show=False),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    class Chosen(Message):
        """A row was opened."""

        def __init__(self, rows: Rows, key: str) -> None:
            super().__init__()
            self.rows = rows
            self.key = key

        @property
        def control(self) -> Rows:
            return self.rows

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, rows: Rows) -> None:
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> Rows:
            return self.rows

    def __init__(self, *, header: bool = True, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.header = header
        self.columns: tuple[Column, ...] = ()
        self.rows: tuple[Row, ...] = ()

    @property
    def current(self) -> str:
        """The key under the cursor; empty without rows."""
        return self.rows[self.cursor].key if self.cursor < len(self.rows) else ""

    def show(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Take new rows. The cursor follows its row; if that is gone, it stays at its place."""
        before, key, old_cursor = self.rows, self.current, self.cursor
        relaid = tuple(columns) != self.columns
        self.columns, self.rows = tuple(columns), tuple(rows)
        places = {row.key: index for index, row in enumerate(self.rows)}
        cursor = places.get(key, min(old_cursor, max(0, len(self.rows) - 1)))
        self.set_reactive(Rows.cursor, cursor)
        if len(before) != len(self.rows) or relaid:
            self.virtual_size = Size(sum(column.columns for column in self.columns), len(self.rows) + self.header)
            self.refresh(layout=True)
            self.call_after_refresh(self._keep_in_view)
        else:
            changed = {index for index, (old, new) in enumerate(zip(before, self.rows, strict=True)) if old != new}
            if cursor != old_cursor:
                changed |= {cursor, old_cursor}
                self._keep_in_view()
            for index in changed:
                self._refresh_row(index)
        if self.current != key:
            self.post_message(self.Moved(self))

    def select(self, key: str) -> None:
        """Put the cursor on a row, if it is there."""
        for index, row in enumerate(self.rows):
            if row.key == key:
                self.cursor = index

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, len(self.rows) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        if old != new:
            self._refresh_row(old)
            self._refresh_row(new)
            self._keep_in_view()
            self.post_message(self.Moved(self))

    def _refresh_row(self, index: int) -> None:
        self.refresh_line(index + self.header)

    @property
    def _window(self) -> int:
        """Rows that fit on the screen."""
        return max(1, self.scrollable_content_region.height - self.header)

    def _keep_in_view(self) -> None:
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + self._window:
            self.scroll_to(y=self.cursor - self._window + 1, animate=False)

    def action_move(self, step: int) -> None:
        self.cursor += step

    def action_move_to(self, place: int) -> None:
        self.cursor = place if place >= 0 else len(self.rows) - 1

    def action_move_by_pages(self, pages: float) -> None:
        self.cursor += int(self._window * pages)

    def action_choose(self) -> None:
        if self.current:
            self.post_message(self.Chosen(self, self.current))

    def on_click(self, event: events.Click) -> None:
        """The first click moves the cursor, one on the cursor opens."""
        index = event.y - self.header + self.scroll_offset.y
        if event.y < self.header or index >= len(self.rows):
            return
        if index == self.cursor and event.chain > 1:
            self.action_choose()
        self.cursor = index

    def on_focus(self) -> None:
        self._refresh_row(self.cursor)

    def on_blur(self) -> None:
        self._refresh_row(self.cursor)

    def render_line(self, y: int) -> Strip:
        columns = self.size.width
        base = self.rich_style
        if self.header and y == 0:
            return self._header(columns, base)
        index = y - self.header + self.scroll_offset.y
        if not 0 <= index < len(self.rows):
            return Strip.blank(columns, base)
        line = lay(self.rows[index], self.columns)
        if index == self.cursor and self.has_focus:
            base += self.get_component_rich_style("rows--cursor", partial=True)
            line = _pointed(line)
        palette = palette_of(self.app)
        segments = [Segment(text, base + palette[tone]) for text, tone in line]
        return Strip(segments).adjust_cell_length(columns, base)

    def _header(self, columns: int, base: Style) -> Strip:
        style = base + palette_of(self.app)["muted"]
        parts = []
        for column in self.columns:
            label = column.label
            if label and column is self._first_labelled() and len(self.rows) > self._window:
                label = self._ranged(label, column.columns)
            parts.append(fit(label, column.columns, right=column.right))
        return Strip([Segment("".join(parts), style)]).adjust_cell_length(columns, style)

    def _ranged(self, label: str, columns: int) -> str:
        """Which part of the rows is shown, where there is room to say so."""
        top = self.scroll_offset.y
        ranged = f"{label} {top + 1}-{min(len(self.rows), top + self._window)}/{len(self.rows)}"
        return ranged if len(ranged) < columns else label

    def _first_labelled(self) -> Column | None:
        return next((column for column in self.columns if column.label), None)


def _pointed(line: tuple[Span, ...]) -> tuple[Span, ...]:
    """The cursor's mark in the left margin, so that it shows without colours too."""
    if line and line[0][0].startswith(" "):
        return (("▌", "accent"), (line[0][0][1:], line[0][1]), *line[1:])
    return line

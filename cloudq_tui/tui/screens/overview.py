"""The overview: every queue, what is wrong first, and the jobs that run now."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cloudq_tui.models.queue import QueueView, Snapshot
from cloudq_tui.tui import headline, render, tables
from cloudq_tui.tui.render import Line
from cloudq_tui.tui.screens.base import FilterLine, LiveScreen
from cloudq_tui.tui.text import visible, width
from cloudq_tui.tui.widgets.key_line import KeyLine
from cloudq_tui.tui.widgets.lines import LineView
from cloudq_tui.tui.widgets.rows import Rows


class OverviewScreen(LiveScreen):
    """Rows of the upper table are queues, of the lower one active jobs; tab goes between them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,R", "retry", "retry", key_display="r"),
        Binding("p", "pause", "pause"),
        Binding("e", "empty", "empty"),
        Binding("c", "clean", "clean"),
        Binding("w", "why", "why"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "back", "back", show=False),
        Binding("tab", "other_table", "queues or active jobs", show=False),
        Binding("exclamation_mark", "worst", "go to the worst queue", show=False),
        Binding("y", "copy", "copy the name", show=False),
        Binding("Y", "copy_json", "copy as JSON", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield LineView(id="status")
        yield LineView(id="headline")
        yield LineView(id="totals")
        with Vertical(id="body"):
            yield Rows(id="queues")
            yield LineView(id="active-title")
            yield Rows(header=False, id="active")
        yield FilterLine()
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one("#queues", Rows).focus()
        super().on_mount()

    @property
    def queue(self) -> str:
        """The queue that keys act on: the row under the cursor, or the queue of the active job under it."""
        active = self.query_one("#active", Rows)
        if active.has_focus and active.current:
            return active.current.split("/", 1)[0]
        return self.query_one("#queues", Rows).current

    def draw(self) -> None:
        app = self.cloudq
        snapshot, columns = app.snapshot, self.size.width
        pulse = app.poller.pulse()
        now = app.options.clock(app.clock())
        status = headline.status_line(snapshot, app.options, pulse, now, app.trip, columns)
        self.query_one("#status", LineView).show(status)
        self.query_one("#totals", LineView).show(headline.totals(snapshot, columns))
        if snapshot is not None and columns:
            self._show_queues(snapshot, columns)
            self._show_active(snapshot, columns)
        line = self.query_one("#headline", LineView)
        line.set_class(bool(pulse.reason), "-away")
        selected = self.query_one("#queues", Rows).current
        line.show(self.banner() or headline.headline(snapshot, selected, app.worker_alive(), columns))

    def _show_queues(self, snapshot: Snapshot, columns: int) -> None:
        queues = [view for view in snapshot.queues if self.matches(view.name)]
        laid = tables.queue_columns(columns, max((width(visible(view.name)) for view in queues), default=0))
        doing = self.cloudq.pending
        rows = [tables.queue_row(view, laid, snapshot.timestamp, doing.get((view.name, ""), "")) for view in queues]
        self.query_one("#queues", Rows).show(laid, rows)

    def _show_active(self, snapshot: Snapshot, columns: int) -> None:
        jobs = sorted(snapshot.active, key=lambda job: (job.processed_on or 0, job.id))
        jobs = [job for job in jobs if self.matches(job.queue, job.name, job.id)]
        laid = tables.active_columns(columns)
        rows = [tables.active_row(job, laid, snapshot.timestamp) for job in jobs]
        self.query_one("#active", Rows).show(laid, rows)
        total = sum(view.counts.active for view in snapshot.queues)
        self.query_one("#active-title", LineView).show(_active_title(len(jobs), total, self.filter, columns))

    def _view(self) -> QueueView | None:
        snapshot = self.cloudq.snapshot
        return snapshot.queue(self.queue) if snapshot is not None else None

    def on_rows_moved(self) -> None:
        self.refresh_view()

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        if event.rows.id == "queues":
            self.cloudq.open_queue(event.key)
        else:
            queue, _, job_id = event.key.partition("/")
            self.cloudq.open_job(queue, job_id, [])

    def action_retry(self) -> None:
        if view := self._view():
            self.cloudq.actions.retry_all(view)

    def action_pause(self) -> None:
        if view := self._view():
            self.cloudq.actions.pause_or_resume(view)

    def action_empty(self) -> None:
        if view := self._view():
            self.cloudq.actions.empty(view)

    def action_clean(self) -> None:
        if view := self._view():
            self.cloudq.actions.clean(view)

    def action_why(self) -> None:
        if view := self._view():
            self.cloudq.show_why(view)

    def action_other_table(self) -> None:
        active = self.query_one("#active", Rows)
        (self.query_one("#queues", Rows) if active.has_focus else active).focus()

    def action_worst(self) -> None:
        snapshot = self.cloudq.snapshot
        if snapshot is not None and (found := headline.worst(snapshot)) is not None:
            self.widen()
            rows = self.query_one("#queues", Rows)
            rows.select(found[0].name)
            rows.focus()

    def action_copy(self) -> None:
        self.cloudq.copy(self.queue)

    def action_copy_json(self) -> None:
        if view := self._view():
            self.cloudq.copy_json(view)

    def action_back(self) -> None:
        """There is nothing behind the overview."""
        self.widen()


def _active_title(shown: int, total: int, narrowed: str, columns: int) -> Line:
    title = f" ACTIVE {render.count(total)} "
    if narrowed:
        title += f"· {shown} match /{visible(narrowed)}/ "
    elif shown < total:
        title += f"· {shown} shown "
    return ((title, "accent"), ("─" * max(0, columns - width(title)), "dim"))

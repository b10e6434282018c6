"""One queue: a tab per state, its jobs by pages, marks, filter, and what can be done with them."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.queue import QueueView
from cloudq_tui.tui import headline, render, tables
from cloudq_tui.tui.messages import Look
from cloudq_tui.tui.render import Line, Span
from cloudq_tui.tui.screens.base import FilterLine, LiveScreen
from cloudq_tui.tui.text import visible
from cloudq_tui.tui.widgets.key_line import KeyLine
from cloudq_tui.tui.widgets.lines import Choice, Choices, LineView
from cloudq_tui.tui.widgets.rows import Rows

TABS = (JobState.WAITING, JobState.ACTIVE, JobState.DELAYED, JobState.FAILED, JobState.COMPLETED, JobState.PAUSED)
RETRYABLE = {JobState.FAILED, JobState.COMPLETED}


def first_tab(view: QueueView | None) -> JobState:
    """What the person most likely came for: failures, else work under way, else the backlog."""
    if view is None:
        return JobState.WAITING
    if view.counts.failed:
        return JobState.FAILED
    if view.counts.active:
        return JobState.ACTIVE
    return JobState.PAUSED if view.pause is not None else JobState.WAITING


class QueueScreen(LiveScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark"),
        Binding("asterisk", "mark_all", "all"),
        Binding("r", "retry", "retry"),
        Binding("R", "retry_all", "retry all"),
        Binding("d", "remove", "remove"),
        Binding("slash", "filter", "filter"),
        Binding("tab,right,l", "tab(1)", "state", key_display="⇥"),
        Binding("shift+tab,left,h", "tab(-1)", "state before", show=False),
        Binding("escape", "back", "back", show=False),
        Binding("greater_than_sign,ctrl+f", "page(1)", "page", key_display="< >"),
        Binding("less_than_sign,ctrl+b", "page(-1)", "page before", show=False),
        Binding("p", "pause", "pause"),
        Binding("e", "empty", "empty"),
        Binding("c", "clean", "clean"),
        Binding("w", "why", "why"),
        Binding("y", "copy", "copy the id", show=False),
        Binding("Y", "copy_json", "copy as JSON", show=False),
        Binding("1", "show_tab(0)", "state by its place", show=False, key_display="1-6"),
        *(Binding(str(place + 1), f"show_tab({place})", "", show=False) for place in range(1, len(TABS))),
    ]

    def __init__(self, queue: str, state: JobState) -> None:
        super().__init__()
        self.queue = queue
        self.state = state
        self.page = 0
        self.jobs: list[Job] | None = None
        self.trouble = ""
        self.marks: set[str] = set()

    def compose(self) -> ComposeResult:
        yield LineView(id="title")
        yield LineView(id="banner")
        yield Choices(id="states")
        yield Rows(id="jobs")
        yield LineView(id="note")
        yield FilterLine()
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one("#jobs", Rows).focus()
        super().on_mount()

    @property
    def view(self) -> QueueView | None:
        snapshot = self.cloudq.snapshot
        return snapshot.queue(self.queue) if snapshot is not None else None

    # reading

    def look(self) -> Look:
        queue, state, size = self.queue, self.state, self.cloudq.options.page_size
        start = self.page * size
        return Look(self._asked(), lambda operations: operations.queue_jobs(queue, state, start, start + size - 1))

    def _asked(self) -> tuple[object, ...]:
        return ("jobs", self.queue, self.state, self.page)

    def take(self, look: Look, seen: Any) -> None:
        if look.key != self._asked():
            return
        if isinstance(seen, Exception):
            self.trouble = str(seen)
            return
        self.trouble = ""
        self.jobs = seen
        if not seen and self.page:
            self._go(self.state, self._pages() - 1)

    def _total(self) -> int:
        view = self.view
        return getattr(view.counts, self.state.value, 0) if view is not None else 0

    def _pages(self) -> int:
        return max(1, -(-self._total() // self.cloudq.options.page_size))

    def _go(self, state: JobState, page: int) -> None:
        """Show another list; what was marked in the old state means nothing in the new one."""
        if state != self.state:
            self.marks.clear()
        self.state, self.page, self.jobs, self.trouble = state, max(0, page), None, ""
        self.query_one("#jobs", Rows).action_move_to(0)
        self.refresh_bindings()
        self.refresh_view()
        self.cloudq.poller.poll()

    # showing

    def draw(self) -> None:
        columns = self.size.width
        if not columns:
            return
        self.show_banner()
        view = self.view
        if self.state == JobState.PAUSED and view is not None and view.pause is None:
            self._go(JobState.WAITING, 0)
            return
        self.query_one("#title", LineView).show(self._title(view, columns))
        self.query_one("#states", Choices).show(self._choices(view), self.state.value)
        laid = tables.job_columns(columns, self.state)
        self.query_one("#jobs", Rows).show(laid, [self._row(job, laid) for job in self._wanted()])
        self.query_one("#note", LineView).show(self._note())

    def _row(self, job: Job, laid: tuple[tables.Column, ...]) -> tables.Row:
        doing = self.cloudq.pending.get((self.queue, job.id), "")
        return tables.job_row(job, laid, self.cloudq.now(), marked=job.id in self.marks, doing=doing)

    def _wanted(self) -> list[Job]:
        """The page, narrowed. Active jobs stand by their start: Redis orders them by lease, which moves."""
        wanted = [job for job in self.jobs or () if self.matches(job.id, job.name, job.error, job.reason)]
        if self.state == JobState.ACTIVE:
            wanted.sort(key=lambda job: (job.processed_on or 0, job.id))
        return wanted

    def _title(self, view: QueueView | None, columns: int) -> Line:
        left: list[Span] = [(f" {visible(self.queue)}  ", "strong")]
        if view is not None:
            mark = render.queue_mark(view)
            left.append((f"{mark.glyph} {mark.word}", mark.tone))
            if view.pause is not None and view.pause.why:
                left.append((f' "{visible(view.pause.why)}"', "muted"))
            if view.failure_rate is not None:
                tone: render.Tone = "bad" if mark is render.FAILING else "muted"
                left.append((f"   {view.failure_rate * 100:.1f}% failed", tone))
        doing = self.cloudq.pending.get((self.queue, ""), "")
        right: list[Span] = [(f"  {doing}  ", "accent")] if doing else [("  ", "plain")]
        return render.sides(left, [*right, *headline.live(self.cloudq.poller.pulse()), (" ", "plain")], columns)

    def _choices(self, view: QueueView | None) -> list[Choice]:
        made = []
        for state in TABS:
            if state == JobState.PAUSED and (view is None or view.pause is None):
                continue
            number = getattr(view.counts, state.value) if view is not None else 0
            chosen = state == self.state
            tone: render.Tone = "dim" if not number else "bad" if state == JobState.FAILED else "plain"
            label: Span = (f"{state.value} ", "strong" if chosen else "muted")
            made.append(Choice(state.value, (label, (render.count(number), tone))))
        return made

    def _note(self) -> Line:
        if self.trouble:
            return ((f" ✗ {visible(self.trouble)}", "bad"),)
        if self.jobs is None:
            return ((" reading…", "dim"),)
        parts: list[str] = []
        if self.marks:
            parts.append(f"{len(self.marks)} marked")
        if self.filter:
            parts.append(f"{len(self._wanted())} of this page match /{visible(self.filter)}/")
        elif not self.jobs:
            parts.append(f"no {self.state.value} jobs")
        else:
            start = self.page * self.cloudq.options.page_size
            total = max(self._total(), start + len(self.jobs))
            parts.append(f"{start + 1}-{start + len(self.jobs)} of {render.exact(total)}")
        if self._pages() > 1:
            parts.append(f"page {self.page + 1} of {self._pages()}")
        return ((" " + " · ".join(parts), "muted"),)

    # keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only the keys that mean something for this state."""
        del parameters
        if action == "retry":
            return self.state in RETRYABLE
        if action == "retry_all":
            return self.state == JobState.FAILED
        if action == "remove":
            return self.state != JobState.ACTIVE
        return True

    def on_choices_chosen(self, event: Choices.Chosen) -> None:
        self._go(JobState(event.key), 0)

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        self.cloudq.open_job(self.queue, event.key, [job.id for job in self._wanted()])

    def action_tab(self, step: int) -> None:
        keys = [choice.key for choice in self._choices(self.view)]
        place = keys.index(self.state.value) if self.state.value in keys else 0
        self._go(JobState(keys[(place + step) % len(keys)]), 0)

    def action_show_tab(self, place: int) -> None:
        if TABS[place].value in [choice.key for choice in self._choices(self.view)]:
            self._go(TABS[place], 0)

    def action_page(self, step: int) -> None:
        page = min(max(0, self.page + step), self._pages() - 1)
        if page != self.page:
            self._go(self.state, page)

    def action_mark(self) -> None:
        rows = self.query_one("#jobs", Rows)
        if rows.current:
            self.marks ^= {rows.current}
            self.refresh_view()
            rows.action_move(1)

    def action_mark_all(self) -> None:
        """All that is shown; once more: none."""
        shown = {job.id for job in self._wanted()}
        self.marks = self.marks - shown if shown <= self.marks else self.marks | shown
        self.refresh_view()

    def _chosen(self) -> list[str]:
        """The marked jobs, else the one under the cursor."""
        if self.marks:
            return sorted(self.marks)
        current = self.query_one("#jobs", Rows).current
        return [current] if current else []

    def action_retry(self) -> None:
        self.cloudq.actions.retry_jobs(self.queue, self._chosen(), self._forget)

    def action_remove(self) -> None:
        self.cloudq.actions.remove_jobs(self.queue, self._chosen(), self._forget)

    def _forget(self) -> None:
        self.marks.clear()
        self.refresh_view()

    def action_retry_all(self) -> None:
        if view := self.view:
            self.cloudq.actions.retry_all(view)

    def action_pause(self) -> None:
        if view := self.view:
            self.cloudq.actions.pause_or_resume(view)

    def action_empty(self) -> None:
        if view := self.view:
            self.cloudq.actions.empty(view)

    def action_clean(self) -> None:
        if view := self.view:
            self.cloudq.actions.clean(view, self.state)

    def action_why(self) -> None:
        if view := self.view:
            self.cloudq.show_why(view)

    def action_copy(self) -> None:
        self.cloudq.copy(self.query_one("#jobs", Rows).current)

    def action_copy_json(self) -> None:
        current = self.query_one("#jobs", Rows).current
        for job in self._wanted():
            if job.id == current:
                self.cloudq.copy_json(job)

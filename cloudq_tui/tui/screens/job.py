"""One job: everything known about it, live while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from cloudq_tui.errors import JobNotFound
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.tui import headline, job_view, render
from cloudq_tui.tui.messages import Look
from cloudq_tui.tui.render import Line
from cloudq_tui.tui.screens.base import LiveScreen
from cloudq_tui.tui.text import visible
from cloudq_tui.tui.widgets.key_line import KeyLine
from cloudq_tui.tui.widgets.lines import Block, LineView


class JobBody(VerticalScroll, can_focus=True):
    """The scrolling part, with the keys of a table."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "down", show=False),
        Binding("k", "scroll_up", "up", show=False),
        Binding("g", "scroll_home", "top", show=False),
        Binding("G", "scroll_end", "bottom", show=False),
        Binding("ctrl+d", "page_down", "page down", show=False),
        Binding("ctrl+u", "page_up", "page up", show=False),
    ]


class JobScreen(LiveScreen):
    """`neighbours` are the ids of the list it was opened from, for n and N."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "retry", "retry"),
        Binding("t,enter", "traceback", "traceback", key_display="t"),
        Binding("v", "payload", "payload"),
        Binding("left,h", "attempt(-1)", "attempt", key_display="← →"),
        Binding("right,l", "attempt(1)", "attempt after", show=False),
        Binding("d", "remove", "remove"),
        Binding("n", "neighbour(1)", "next"),
        Binding("N", "neighbour(-1)", "job before", show=False),
        Binding("y", "copy", "copy"),
        Binding("Y", "copy_json", "copy as JSON", show=False),
        Binding("escape", "back", "back"),
    ]

    def __init__(self, queue: str, job_id: str, neighbours: list[str]) -> None:
        super().__init__()
        self.queue = queue
        self.job_id = job_id
        self.neighbours = neighbours
        self.job: Job | None = None
        self.trouble = ""
        self.shown = job_view.Shown()

    def compose(self) -> ComposeResult:
        yield LineView(id="title")
        yield LineView(id="banner")
        yield LineView(id="trouble")
        with JobBody(id="job"):
            yield Block(id="facts")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(JobBody).focus()
        super().on_mount()

    def look(self) -> Look:
        queue, job_id = self.queue, self.job_id
        return Look(("job", queue, job_id), lambda operations: operations.job(queue, job_id))

    def take(self, look: Look, seen: Any) -> None:
        if look.key != ("job", self.queue, self.job_id):
            return
        before = self.job.state if self.job is not None else None
        if isinstance(seen, JobNotFound):
            self.trouble = "gone: it was removed, or is no longer kept"
        elif isinstance(seen, Exception):
            self.trouble = str(seen)
        else:
            self.job, self.trouble = seen, ""
        if self.job is not None and self.job.state != before:
            self.refresh_bindings()

    def draw(self) -> None:
        columns = self.size.width
        if not columns:
            return
        self.show_banner()
        trouble = self.query_one("#trouble", LineView)
        trouble.display = bool(self.trouble)
        trouble.show(((f" ✗ {visible(self.trouble)}", "bad"),))
        self.query_one("#title", LineView).show(self._title(columns))
        if self.job is not None:
            view = self.cloudq.snapshot.queue(self.queue) if self.cloudq.snapshot is not None else None
            shown = replace(self.shown, width=columns)
            lines = job_view.body(self.job, view, self.cloudq.now(), self.cloudq.options, shown)
            self.query_one("#facts", Block).show(lines)

    def _title(self, columns: int) -> Line:
        pulse = headline.live(self.cloudq.poller.pulse())
        if doing := self.cloudq.pending.get((self.queue, self.job_id)):
            pulse = ((doing, "accent"), ("  ", "plain"), *pulse)
        if self.job is None:
            name = f" {visible(self.queue)} / {visible(self.job_id)}"
            return render.sides([(name, "muted")], [*pulse, (" ", "plain")], columns)
        return job_view.title(self.job, self.cloudq.now(), columns, pulse)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only the keys that mean something for this job."""
        del parameters
        if self.job is None:
            return action in {"back", "copy"}
        wanted = {
            "retry": self.job.state in {JobState.FAILED, JobState.COMPLETED},
            "remove": self.job.state != JobState.ACTIVE,
            "traceback": any(attempt.traceback for attempt in self.job.attempts),
            "attempt": len(self.job.attempts) > 1,
            "payload": self.job.data is not None,
            "neighbour": len(self.neighbours) > 1,
        }
        return wanted.get(action, True)

    def action_traceback(self) -> None:
        self._show(replace(self.shown, traceback=not self.shown.traceback))

    def action_payload(self) -> None:
        self._show(replace(self.shown, payload=not self.shown.payload))

    def action_attempt(self, step: int) -> None:
        if self.job is not None and self.job.attempts:
            last = len(self.job.attempts) - 1
            place = job_view.chosen_attempt(self.job, self.shown.attempt) + step
            self._show(replace(self.shown, attempt=min(max(0, place), last)))

    def _show(self, shown: job_view.Shown) -> None:
        self.shown = shown
        self.refresh_view()

    def action_neighbour(self, step: int) -> None:
        """The next job of the list this one was opened from."""
        place = self.neighbours.index(self.job_id) + step if self.job_id in self.neighbours else 0
        if 0 <= place < len(self.neighbours):
            self.job_id, self.job, self.trouble = self.neighbours[place], None, ""
            self.shown = job_view.Shown()
            self.query_one("#facts", Block).show([])
            self.query_one(JobBody).scroll_home(animate=False)
            self.refresh_view()
            self.cloudq.poller.poll()

    def action_retry(self) -> None:
        self.cloudq.actions.retry_jobs(self.queue, [self.job_id])

    def action_remove(self) -> None:
        self.cloudq.actions.remove_jobs(self.queue, [self.job_id], self._removed)

    def _removed(self) -> None:
        if self.is_current:
            self.dismiss()

    def action_copy(self) -> None:
        self.cloudq.copy(self.job_id)

    def action_copy_json(self) -> None:
        if self.job is not None:
            self.cloudq.copy_json(self.job)

    def widen(self) -> bool:
        return False

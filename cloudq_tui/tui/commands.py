"""The command palette: every queue and what can be done with it, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from cloudq_tui.tui.text import visible

if TYPE_CHECKING:
    from cloudq_tui.tui.app import CloudqApp


class CloudqCommands(Provider):
    """`open email`, `pause email`, `worker log`, `quit` and their like."""

    @property
    def _cloudq(self) -> CloudqApp:
        return cast("CloudqApp", self.app)

    def _commands(self) -> Iterator[tuple[str, Callable[[], object], str]]:
        app = self._cloudq
        views = app.snapshot.queues if app.snapshot is not None else ()
        for view in views:
            yield f"open {visible(view.name)}", partial(app.open_queue, view.name), "Its jobs, by state"
        for view in views:
            name, later = visible(view.name), app.call_later
            verb = "resume" if view.pause is not None else "pause"
            yield f"{verb} {name}", partial(later, app.actions.pause_or_resume, view), "Jobs start, or not"
            yield f"retry {name}", partial(later, app.actions.retry_all, view), "Retry all failed jobs; asks first"
            yield f"empty {name}", partial(later, app.actions.empty, view), "Remove waiting and delayed; asks first"
            yield f"clean {name}", partial(later, app.actions.clean, view), "Remove old jobs of a state; asks first"
            yield f"why {name}", partial(later, app.show_why, view), "What holds the queue up"
        if app.worker is not None:
            yield "worker log", partial(app.call_later, app.action_worker_log), "Follow the embedded worker's log"
        yield "undo", partial(app.call_later, app.actions.undo), "Take back your last removal or retry"
        yield "help", partial(app.call_later, app.action_ask_help), "The keys that work here"
        yield "theme", partial(app.call_later, app.search_themes), "Choose other colours"
        yield "quit", partial(app.call_later, app.action_quit), "Leave; the embedded worker stops gracefully"

    async def discover(self) -> Hits:
        for text, command, explanation in self._commands():
            yield DiscoveryHit(text, command, text, explanation)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for text, command, explanation in self._commands():
            score = matcher.match(text)
            if score > 0:
                yield Hit(score, matcher.highlight(text), command, text, explanation)

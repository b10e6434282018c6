"""CloudqApp: the dashboard's frame. Owns the poller, the pending acts and the way between screens; holds no rule of
the queues and no Redis command. Everything it knows comes through the operations."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.screen import Screen
from textual.widget import Widget

from cloudq_tui.models.queue import QueueView, Snapshot
from cloudq_tui.tui import clipboard, keyboard, render, why
from cloudq_tui.tui.actions import Actions
from cloudq_tui.tui.commands import CloudqCommands
from cloudq_tui.tui.messages import Look, Polled, PollFailed
from cloudq_tui.tui.options import ViewOptions
from cloudq_tui.tui.poller import Poller
from cloudq_tui.tui.screens.base import MIN_COLUMNS, MIN_LINES, LiveScreen
from cloudq_tui.tui.screens.job import JobScreen
from cloudq_tui.tui.screens.overview import OverviewScreen
from cloudq_tui.tui.screens.queue import QueueScreen, first_tab
from cloudq_tui.tui.screens.reading import FarewellScreen, NoteScreen, WorkerLogScreen
from cloudq_tui.tui.text import visible
from cloudq_tui.tui.theme import NIGHT, Palette

if TYPE_CHECKING:
    from cloudq_tui.services.operations import QueueOperations
    from cloudq_tui.settings import Settings

GRACE = 10.0
"""Seconds that the embedded worker gets to end its jobs on quit."""


class EmbeddedWorker(Protocol):
    """The child process that works while the dashboard is open."""

    @property
    def alive(self) -> bool: ...
    @property
    def log_path(self) -> Path: ...
    def stop(self, grace: float) -> None:
        """Blocks until it has ended; interrupts what still runs after `grace` seconds."""
        ...


class CloudqApp(App[None]):
    TITLE = "cloudq"
    CSS_PATH = "app.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {CloudqCommands}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("colon", "command_palette", "command"),
        Binding("question_mark", "ask_help", "help"),
        Binding("u", "undo", "undo", show=False),
        Binding("l", "worker_log", "worker log", show=False),
        Binding("q", "quit", "quit", show=False),
    ]

    def __init__(
        self,
        operations: QueueOperations,
        *,
        settings: Settings | None = None,
        worker: EmbeddedWorker | None = None,
        refresh: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`refresh` is seconds between looks; `clock` gives epoch seconds."""
        super().__init__()
        self.operations = operations
        self.options = ViewOptions.of(settings)
        if getattr(operations, "read_only", False):
            self.options = dataclasses.replace(self.options, read_only=True)
        self.worker = worker
        self.clock = clock
        self.snapshot: Snapshot | None = None
        self.trip = 0.0
        self.pending: dict[tuple[str, str], str] = {}
        self.actions = Actions(self)
        self.poller = Poller(self, operations, refresh=refresh, clock=clock)
        self.palette = Palette({}, self.options.badge_colour)
        self._settling: list[tuple[int, tuple[str, str]]] = []
        self._focused: list[tuple[Screen[Any], Widget | None]] = []
        self._leaving = False
        self.register_theme(NIGHT)
        self.theme = NIGHT.name

    # life

    def get_default_screen(self) -> Screen[Any]:
        return OverviewScreen()

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._recolour)
        self._recolour()
        self.poller.poll()
        self.set_interval(self.poller.refresh, self.poller.tick)
        self.set_interval(1.0, self.refresh_live)

    def _recolour(self, *_: object) -> None:
        self.palette = Palette(self.theme_variables, self.options.badge_colour)
        for screen in self.screen_stack:
            for widget in screen.query("*"):
                repaint = getattr(widget, "repaint", widget.refresh)
                repaint()

    def on_resize(self, event: events.Resize) -> None:
        cramped = event.size.width < MIN_COLUMNS or event.size.height < MIN_LINES
        if cramped and not self._focused:
            self._focused = [(screen, screen.focused) for screen in self.screen_stack]
        self.set_class(cramped, "-cramped")
        if not cramped:
            # What was hidden has lost the focus, and with it the keys of its table or field.
            for screen, widget in self._focused:
                if widget is not None and widget.is_attached:
                    screen.set_focus(widget)
            self._focused.clear()

    async def action_quit(self) -> None:
        """Leave; the embedded worker first ends what it runs."""
        if self.worker is None or not self.worker.alive or self._leaving:
            self.exit()
            return
        self._leaving = True
        self.push_screen(FarewellScreen())
        self.run_worker(self._farewell(), exit_on_error=False, group="quit")

    async def _farewell(self) -> None:
        if self.worker is not None:
            try:
                await asyncio.to_thread(self.worker.stop, GRACE)
            except Exception as error:  # noqa: BLE001 - leaving matters more than how the worker went
                self.log.warning(error)
        self.exit()

    def action_help_quit(self) -> None:
        self.say("q quits")

    # looking

    def current_look(self) -> Look | None:
        screen = self._live_screen()
        return screen.look() if screen is not None else None

    def run_look(self, read: Callable[[], None]) -> None:
        self.run_worker(read, thread=True, exclusive=True, exit_on_error=False, group="poll")

    def _live_screen(self) -> LiveScreen | None:
        """The topmost screen that shows queues; dialogs may lie over it."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, LiveScreen)), None)

    def on_polled(self, message: Polled) -> None:
        if not self.poller.accept(message):
            return
        self.snapshot = message.snapshot
        self.trip = render.steady(self.trip, message.snapshot.redis.round_trip)
        for serial, key in self._settling:
            if serial <= message.serial:
                self.pending.pop(key, None)
        self._settling = [item for item in self._settling if item[0] > message.serial]
        screen = self._live_screen()
        if screen is not None and message.look is not None:
            screen.take(message.look, message.seen)
        self.refresh_live()

    def on_poll_failed(self, message: PollFailed) -> None:
        if self.poller.failed(message):
            self.refresh_live()

    def refresh_live(self) -> None:
        screen = self._live_screen()
        if screen is not None and screen.is_mounted:
            screen.refresh_view()

    def now(self) -> int:
        """Epoch ms of the last snapshot, on the server's clock."""
        return self.snapshot.timestamp if self.snapshot is not None else int(self.clock() * 1000)

    def worker_alive(self) -> bool | None:
        """None without an embedded worker."""
        return None if self.worker is None or self._leaving else self.worker.alive

    # acts under way

    def begin(self, keys: Sequence[tuple[str, str]], doing: str) -> None:
        """Rows say `doing` until a look that began after the act has come back."""
        self.pending.update(dict.fromkeys(keys, doing))
        self.refresh_live()

    def settle(self, keys: Sequence[tuple[str, str]]) -> None:
        serial = self.poller.serial + 1
        self._settling += [(serial, key) for key in keys]
        self.poller.poll()

    def forget(self, keys: Sequence[tuple[str, str]]) -> None:
        for key in keys:
            self.pending.pop(key, None)
        self.refresh_live()

    def say(self, text: str) -> None:
        """A toast for what the person did."""
        self.notify(visible(text), markup=False)

    def complain(self, text: str) -> None:
        self.notify(visible(text), severity="error", markup=False)

    # going places

    def open_queue(self, queue: str) -> None:
        view = self.snapshot.queue(queue) if self.snapshot is not None else None
        self.push_screen(QueueScreen(queue, first_tab(view)))

    def open_job(self, queue: str, job_id: str, siblings: list[str]) -> None:
        self.push_screen(JobScreen(queue, job_id, siblings))

    def show_why(self, view: QueueView) -> None:
        title = f"Why is {view.name} not running?" if view.pause or not view.workers else f"How {view.name} runs"
        self.push_screen(NoteScreen(visible(title), why.queue(view, self.now())))

    def action_ask_help(self) -> None:
        self.push_screen(NoteScreen("Keys", keyboard.lines(self._keys_here())))

    def _keys_here(self) -> list[tuple[str, str]]:
        """Key and label of everything bound on this screen, each act once."""
        shown: dict[str, tuple[str, str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            own = isinstance(active.node, LiveScreen) and not binding.action.startswith(("app.", "screen."))
            here = own or binding.action == "choose"
            if here and active.enabled and binding.description:
                shown.setdefault(binding.action, (self.get_key_display(binding), binding.description))
        return list(shown.values())

    def action_undo(self) -> None:
        self.actions.undo()

    def action_worker_log(self) -> None:
        if self.worker is not None:
            self.push_screen(WorkerLogScreen(self.worker.log_path))

    # the clipboard

    def copy(self, text: str) -> None:
        if text:
            self.copy_to_clipboard(text)
            self.say(f"copied {text}")

    def copy_json(self, item: Any) -> None:
        text = json.dumps(dataclasses.asdict(item), ensure_ascii=False, indent=2, default=str)
        part, whole = clipboard.copied(text)
        self.copy_to_clipboard(part)
        self.say("copied as JSON" if whole else f"copied the first {render.size(len(part.encode()))} of the JSON")

    def copy_to_clipboard(self, text: str) -> None:
        """As Textual's, but it also reaches the person's terminal through tmux and screen."""
        self._clipboard = text
        if self._driver is not None:
            self._driver.write(clipboard.sequence(text, os.environ))

    def search_themes(self) -> None:
        self.call_later(partial(super().search_themes))

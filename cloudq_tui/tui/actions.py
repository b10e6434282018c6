"""What the person does: ask, act in a thread, say how it went. Every rule lives in the operations; nothing here
decides whether an act is allowed, except not to open a dialog that could only be refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from textual.screen import ModalScreen, Screen

from cloudq_tui.errors import CloudqError
from cloudq_tui.models.job import JobState
from cloudq_tui.models.queue import BulkResult, QueueView
from cloudq_tui.services.views import UNDO_MS
from cloudq_tui.tui import questions, render
from cloudq_tui.tui.questions import Question
from cloudq_tui.tui.screens.asking import CleanScreen, PauseScreen
from cloudq_tui.tui.screens.confirm import ConfirmScreen
from cloudq_tui.tui.screens.running import BulkProgress, RunningScreen

if TYPE_CHECKING:
    from cloudq_tui.services.operations import OnProgress
    from cloudq_tui.tui.app import CloudqApp

T = TypeVar("T")
QUICK = 0.25
"""Seconds within which a bulk act may end without ever showing its bar."""

Keys = list[tuple[str, str]]


class Actions:
    """One act at a time: while a question is open, the keys belong to it."""

    def __init__(self, app: CloudqApp) -> None:
        self._app = app
        self._busy = False

    # the verbs

    def retry_all(self, view: QueueView) -> None:
        if not view.counts.failed:
            self._app.say(f"{view.name} has no failed jobs")
            return
        self._start(self._retry_all(view))

    async def _retry_all(self, view: QueueView) -> None:
        operations = self._app.operations
        preview = await asyncio.to_thread(operations.preview_retry, view.name)
        question = questions.retry_all(view.name, preview, self._app.now(), self._threshold, self._until)
        if await self._agreed(question):
            await self._bulk(view.name, "retry", "retrying…", lambda on: operations.retry_all(view.name, on))

    def retry_jobs(self, queue: str, ids: list[str], done: Callable[[], None] | None = None) -> None:
        if ids:
            self._start(self._retry_jobs(queue, ids, done))

    async def _retry_jobs(self, queue: str, ids: list[str], done: Callable[[], None] | None) -> None:
        if len(ids) > 1 and not await self._agreed(questions.retry_some(queue, ids)):
            return
        retry = self._app.operations.retry_job
        count = await self._each(queue, ids, "retrying…", lambda job_id: retry(queue, job_id))
        self._app.say(f"{queue}: {render.plural(count, 'job')} waiting again")
        if done is not None:
            done()

    def remove_jobs(self, queue: str, ids: list[str], done: Callable[[], None] | None = None) -> None:
        if ids:
            self._start(self._remove_jobs(queue, ids, done))

    async def _remove_jobs(self, queue: str, ids: list[str], done: Callable[[], None] | None) -> None:
        if not await self._agreed(questions.remove(queue, ids, self._threshold, self._until)):
            return
        remove = self._app.operations.remove_job
        count = await self._each(queue, ids, "removing…", lambda job_id: remove(queue, job_id))
        self._app.say(f"{queue}: {render.plural(count, 'job')} removed · u undo")
        if done is not None:
            done()

    def pause_or_resume(self, view: QueueView) -> None:
        self._start(self._resume(view) if view.pause is not None else self._pause(view))

    async def _resume(self, view: QueueView) -> None:
        await self._act([(view.name, "")], "resuming…", lambda: self._app.operations.resume_queue(view.name))
        self._app.say(f"{view.name} resumed")

    async def _pause(self, view: QueueView) -> None:
        wish = await self._app.push_screen_wait(PauseScreen(view.name, view.counts.active))
        if wish is None:
            return
        pause = self._app.operations.pause_queue
        await self._act([(view.name, "")], "pausing…", lambda: pause(view.name, wish.why, wish.duration))
        until = f" for {render.age(wish.duration.total_seconds() * 1000)}" if wish.duration else ""
        self._app.say(f"{view.name} paused{until}")

    def empty(self, view: QueueView) -> None:
        counts = view.counts
        if not counts.waiting + counts.paused + counts.delayed:
            self._app.say(f"{view.name} has no waiting, paused or delayed jobs")
            return
        self._start(self._empty(view))

    async def _empty(self, view: QueueView) -> None:
        operations = self._app.operations
        preview = await asyncio.to_thread(operations.preview_empty, view.name)
        if await self._agreed(questions.empty(view, preview, self._app.now(), self._threshold, self._until)):
            await self._bulk(view.name, "empty", "emptying…", lambda on: operations.empty_queue(view.name, on))

    def clean(self, view: QueueView, state: JobState = JobState.COMPLETED) -> None:
        self._start(self._clean(view, state))

    async def _clean(self, view: QueueView, state: JobState) -> None:
        wish = await self._app.push_screen_wait(CleanScreen(view.name, state, paused=view.pause is not None))
        if wish is None:
            return
        operations, name = self._app.operations, view.name
        preview = await asyncio.to_thread(operations.preview_clean, name, wish.grace, wish.state)
        if not preview.count:
            self._app.say(f"{name} has no {wish.state.value} jobs that old")
            return
        question = questions.clean(
            name, preview, wish.state.value, wish.grace, self._app.now(), self._threshold, self._until
        )
        if await self._agreed(question):
            clean = operations.clean_queue
            await self._bulk(name, "clean", "cleaning…", lambda on: clean(name, wish.grace, wish.state, on))

    def undo(self) -> None:
        self._start(self._undo())

    async def _undo(self) -> None:
        operations = self._app.operations
        entry = await asyncio.to_thread(operations.last_undoable)
        if entry is None:
            self._app.say("nothing of yours to undo in the last ten minutes")
        elif await self._agreed(questions.undo(entry, self._app.options.time(entry.at))):
            await self._bulk(entry.queue, "undo", "undoing…", lambda on: operations.undo(on)[1])

    # how they run

    @property
    def _threshold(self) -> int:
        return self._app.options.confirm_threshold

    @property
    def _until(self) -> str:
        """Until when what is done now can be undone, HH:MM."""
        return self._app.options.clock((self._app.now() + UNDO_MS) / 1000)

    def _start(self, act: Coroutine[Any, Any, None]) -> None:
        if self._busy or isinstance(self._app.screen, ModalScreen):
            act.close()
        elif self._app.options.read_only:
            act.close()
            self._app.complain("this dashboard is read-only: nothing was changed")
        else:
            self._busy = True
            self._app.run_worker(self._guarded(act), group="act", exit_on_error=False)

    async def _guarded(self, act: Awaitable[None]) -> None:
        """An act that fails is one line on the screen, never the end of the app."""
        try:
            await act
        except CloudqError as error:
            self._app.complain(str(error))
        except Exception as error:  # noqa: BLE001 - a defect is told, the dashboard goes on
            self._app.complain(f"{type(error).__name__}: {error}")
        finally:
            self._busy = False

    async def _agreed(self, question: Question) -> bool:
        return bool(await self._app.push_screen_wait(cast("Screen[object]", ConfirmScreen(question))))

    async def _act(self, keys: Keys, doing: str, call: Callable[[], T]) -> T:
        """Run in a thread; the rows concerned say what is being done until a later look confirms it."""
        self._app.begin(keys, doing)
        try:
            result = await asyncio.to_thread(call)
        except BaseException:
            self._app.forget(keys)
            raise
        self._app.settle(keys)
        return result

    async def _each(self, queue: str, ids: list[str], doing: str, call: Callable[[str], None]) -> int:
        """One job after the other; the first refusal ends it and says how far it came."""
        done = 0

        def all_of_them() -> None:
            nonlocal done
            for job_id in ids:
                call(job_id)
                done += 1

        try:
            await self._act([(queue, job_id) for job_id in ids], doing, all_of_them)
        except CloudqError as error:
            if not done:
                raise
            self._app.poller.poll()
            raise CloudqError(f"{done} of {len(ids)} done, then: {error}") from error
        return done

    async def _bulk(self, queue: str, verb: str, doing: str, call: Callable[[OnProgress], BulkResult]) -> None:
        progress = BulkProgress()
        running: RunningScreen | None = None
        task = asyncio.ensure_future(self._act([(queue, "")], doing, lambda: call(progress.report)))
        try:
            await asyncio.wait({task}, timeout=QUICK)
            if not task.done():
                running = RunningScreen(f"{verb.capitalize()} {queue}", progress)
                await self._app.push_screen(running)
            result = await task
        finally:
            progress.stop()
            if running is not None and running.is_current:
                running.dismiss()
        self._app.say(_outcome(queue, verb, result))


def _outcome(queue: str, verb: str, result: BulkResult) -> str:
    words = {"retry": "waiting again", "empty": "emptied", "clean": "cleaned", "undo": "put back"}
    text = f"{queue}: {render.plural(result.moved, 'job')} {words[verb]}"
    if result.skipped:
        text += f", {render.exact(result.skipped)} skipped"
    if result.remaining:
        text += f", {render.exact(result.remaining)} left"
    return f"{text} · u undo" if result.moved and verb != "undo" else text

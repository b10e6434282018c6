"""The dashboard driven by keys, against the fake of the operations."""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock
from fake_operations import NOON, FakeOperations
from textual.pilot import Pilot
from textual.widgets import Input, Log

from cloudq_tui.errors import CloudqError
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.tui import render
from cloudq_tui.tui.app import CloudqApp
from cloudq_tui.tui.messages import Polled
from cloudq_tui.tui.screens.asking import CleanScreen, PauseScreen
from cloudq_tui.tui.screens.confirm import ConfirmScreen
from cloudq_tui.tui.screens.job import JobBody, JobScreen
from cloudq_tui.tui.screens.overview import OverviewScreen
from cloudq_tui.tui.screens.queue import QueueScreen
from cloudq_tui.tui.screens.reading import NoteScreen, WorkerLogScreen
from cloudq_tui.tui.screens.running import RunningScreen
from cloudq_tui.tui.widgets.key_line import KeyLine
from cloudq_tui.tui.widgets.lines import Block, LineView
from cloudq_tui.tui.widgets.rows import Rows

Make = Callable[..., CloudqApp]
Settle = Callable[[Pilot[Any]], Awaitable[None]]


def line(app: CloudqApp, name: str) -> str:
    return render.plain(app.screen.query_one(f"#{name}", LineView).line)


def row(app: CloudqApp, key: str, table: str = "queues") -> str:
    rows = app.screen_stack[0].query_one(f"#{table}", Rows)
    return next("|".join(render.plain(cell) for cell in one.cells) for one in rows.rows if one.key == key)


def toasts(app: CloudqApp) -> list[str]:
    return [note.message for note in app._notifications]


def hints(app: CloudqApp) -> str:
    return " ".join(f"{key} {label}" for key, label, _ in app.screen.query_one(KeyLine).fitting(200))


def dialog(app: CloudqApp) -> str:
    return "\n".join(render.plain(one) for block in app.screen.query(Block) for one in block.lines)


async def test_a_failure_is_seen_looked_at_and_retried(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        assert line(app, "headline") == " ✓ all queues healthy"
        job = fake.enqueue("email", "send-email", {"to": "a"})
        fake.fail(
            "email", job.id, "535 Authentication credentials invalid", 'Traceback\n  File "smtp.py", line 8, in x'
        )
        app.poller.poll()
        await settle(pilot)
        assert "|2|" in row(app, "email")

        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, QueueScreen)
        assert app.screen.state == JobState.FAILED
        assert app.screen.query_one("#jobs", Rows).current == job.id

        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, JobScreen)
        body = "\n".join(render.plain(one) for one in app.screen.query_one("#facts", Block).lines)
        assert "535 Authentication credentials invalid" in body
        await pilot.press("t")
        opened = "\n".join(render.plain(one) for one in app.screen.query_one("#facts", Block).lines)
        assert "Traceback" in opened

        await pilot.press("r")
        await settle(pilot)
        assert fake.jobs["email"][job.id].state == JobState.WAITING
        assert toasts(app) == ["email: 1 job waiting again"]
        assert "waiting" in line(app, "title")
        await pilot.press("escape", "escape")
        await settle(pilot)
        assert isinstance(app.screen, OverviewScreen)


async def test_pause_empty_clean_and_resume(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("p")
        assert isinstance(app.screen, PauseScreen)
        await pilot.press(*"disk", "tab", *"15m", "enter")
        await settle(pilot)
        assert fake.calls[-1] == ("pause_queue", "email", "disk", timedelta(minutes=15))
        assert "‖" in row(app, "email")
        assert "in 15m" in row(app, "email")

        await pilot.press("e")
        await settle(pilot)
        assert isinstance(app.screen, ConfirmScreen)
        assert "42 waiting and 3 delayed jobs leave the queue." in dialog(app)
        assert "same as: cloudq-tui empty email" in dialog(app)
        await pilot.press("y")
        await settle(pilot)
        assert "email: 45 jobs emptied · u undo" in toasts(app)
        assert fake.preview_empty("email").count == 0

        await pilot.press("c")
        await settle(pilot)
        assert isinstance(app.screen, CleanScreen)
        await pilot.press("right", "tab", "ctrl+a", "ctrl+k", *"1s", "enter")
        await settle(pilot)
        assert "1 failed job older than 1s leaves email." in dialog(app)
        await pilot.press("y")
        await settle(pilot)
        assert fake.calls[-1] == ("clean_queue", "email", 1000, "failed")

        await pilot.press("p")
        await settle(pilot)
        assert fake.pauses == {}
        assert toasts(app)[-1] == "email resumed"


async def test_the_backlog_of_a_paused_queue_is_cleaned_by_age(
    fake: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    fake.pause_queue("email")
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("c", "left", "tab", *"1s", "enter")
        await settle(pilot)
        assert "40 paused jobs older than 1s leave email." in dialog(app)
        assert "cloudq-tui clean email --state paused --grace 1s" in dialog(app)
        await pilot.press("y")
        await settle(pilot)
        assert fake.calls[-1] == ("clean_queue", "email", 1000, "paused")
        assert len(fake.queue_jobs("email", "paused", 0, 99)) == 2
        assert "email: 40 jobs cleaned · u undo" in toasts(app)


async def test_undo_puts_back_what_was_taken(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("u")
        await settle(pilot)
        assert toasts(app) == ["nothing of yours to undo in the last ten minutes"]
        await pilot.press("e")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert fake.preview_empty("email").count == 0
        await pilot.press("u")
        await settle(pilot)
        assert "45 jobs of the empty at 12:00:00 go back." in dialog(app)
        await pilot.press("y")
        await settle(pilot)
        assert toasts(app)[-1] == "email: 45 jobs put back"
        assert "|42|" in row(app, "email")


@pytest.mark.parametrize("key", ["r", "p", "e", "c"])
async def test_escape_means_nothing_happened(key: str, broken: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(broken)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press(key)
        await settle(pilot)
        assert app.screen is not app.screen_stack[0]
        await pilot.press("escape")
        await settle(pilot)
        assert isinstance(app.screen, OverviewScreen)
        assert broken.calls == []
        assert toasts(app) == []


async def test_enter_on_an_open_question_is_the_safe_answer(
    fake: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("e")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, OverviewScreen)
        assert fake.calls == []


async def test_above_the_threshold_the_name_must_be_typed(
    broken: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    app = dashboard(broken)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("r")
        await settle(pilot)
        await pilot.press(*"emai", "enter")
        assert isinstance(app.screen, ConfirmScreen)
        assert broken.calls == []
        await pilot.press("l", "enter")
        await settle(pilot)
        assert broken.calls == [("retry_all", "email")]
        assert toasts(app) == ["email: 119 jobs waiting again · u undo"]


async def test_a_long_act_shows_its_figures_and_escape_stops_it(
    broken: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    broken.step, broken.gate = 10, threading.Event()
    app = dashboard(broken, confirm_threshold=1000)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("r")
        await settle(pilot)
        await pilot.press("y")
        while not isinstance(app.screen, RunningScreen) or "moved" not in dialog(app):
            await pilot.pause(0.01)
        assert "moved 10   skipped 0   remaining 109" in dialog(app)
        assert "retrying…" in row(app, "email")
        await pilot.press("escape")
        assert "stopping…" in dialog(app)
        broken.gate.set()
        while isinstance(app.screen, RunningScreen):
            await pilot.pause(0.01)
        await settle(pilot)
        assert toasts(app) == ["email: 20 jobs waiting again, 99 left · u undo"]
        assert "retrying…" not in row(app, "email")


async def test_redis_away_is_a_banner_and_comes_back(
    fake: FakeOperations, dashboard: Make, settle: Settle, clock: Clock
) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        fake.away = "connection to localhost:6379 \x1brefused"
        app.poller.poll()
        await settle(pilot)
        assert line(app, "headline") == " ✗ Redis away, retrying in 1s: connection to localhost:6379 ␛refused"
        assert "✗ away" in line(app, "status")
        assert "|42|" in row(app, "email")

        await pilot.press("enter")
        await settle(pilot)
        assert line(app, "banner").startswith(" ✗ Redis away")
        await pilot.press("escape", "e")
        await settle(pilot)
        assert toasts(app) == ["connection to localhost:6379 ␛refused"]

        app.poller.tick()
        assert not app.poller.in_flight, "patience before the next attempt"
        clock.now += 9
        fake.away = ""
        app.poller.tick()
        await settle(pilot)
        assert line(app, "headline") == " ✓ all queues healthy"
        assert "● live" in line(app, "status")
        clock.now += 3600 * 4
        app.refresh_live()
        assert "○ stale 4h 00m" in line(app, "status")


async def test_a_long_line_is_cut_not_wrapped(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    fake.away = "one " + "word" * 40
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        drawn = app.screen.query_one("#headline").render_line(0).text
        assert re.match(r" ✗ Redis away, retrying in \ds: one wordword", drawn)
        assert drawn.endswith("…")


async def test_any_exception_of_a_look_is_told_and_survived(
    fake: FakeOperations, dashboard: Make, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = dashboard(fake)

    def broken_snapshot() -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(fake, "snapshot", broken_snapshot)
    async with app.run_test() as pilot:
        await settle(pilot)
        assert "ValueError: no such thing" in line(app, "headline")
        assert app.is_running


async def test_one_look_in_flight_and_late_answers_are_dropped(
    fake: FakeOperations, dashboard: Make, settle: Settle, clock: Clock
) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        old = fake.snapshot()
        looks: list[int] = []
        app.run_look = lambda read: looks.append(app.poller.serial)  # type: ignore[method-assign]
        app.poller.poll()
        app.poller.poll()
        app.poller.tick()
        assert len(looks) == 1
        late = looks[0]
        clock.now += 21
        app.poller.tick()
        assert app.poller.reason == "no answer for 20 s"
        app.post_message(Polled(late, old, None, None))
        await pilot.pause()
        assert app.poller.reason, "the late answer changed nothing"
        clock.now += 2
        app.poller.tick()
        app.post_message(Polled(app.poller.serial, old, None, None))
        await pilot.pause()
        assert not app.poller.reason


async def test_nothing_changed_nothing_is_painted(
    fake: FakeOperations, dashboard: Make, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        painted: list[object] = []
        for kind in (Rows, LineView):
            refresh = kind.refresh
            monkeypatch.setattr(
                kind,
                "refresh",
                lambda self, *regions, _refresh=refresh, **kw: (
                    painted.append(regions),
                    _refresh(self, *regions, **kw),
                )[1],
            )
        app.poller.poll()
        await settle(pilot)
        assert painted == []
        fake.enqueue("sms", "send-sms", {})
        app.poller.poll()
        await settle(pilot)
        sms_line = 2
        assert [region.y for regions in painted for region in regions] == [sms_line]


async def test_the_cursor_stays_on_its_job_while_rows_move(
    broken: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    app = dashboard(broken)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        rows = app.screen.query_one("#jobs", Rows)
        await pilot.press("j", "j", "j")
        here = rows.current
        newer = Job("newer", "email", "send-email", JobState.FAILED, NOON, finished_on=NOON + 5)
        broken.put(newer)
        app.poller.poll()
        await settle(pilot)
        assert rows.rows[0].key == "newer"
        assert (rows.current, rows.cursor) == (here, 4)
        broken.jobs["email"].pop(here)
        app.poller.poll()
        await settle(pilot)
        assert rows.cursor == 4
        await pilot.press("G")
        assert rows.cursor == len(rows.rows) - 1
        await pilot.press("g")
        assert rows.cursor == 0
        await pilot.press("ctrl+d")
        assert rows.cursor > 5


async def test_marks_filter_and_pages(broken: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(broken)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert line(app, "note") == " 1-50 of 119 · page 1 of 3"
        await pilot.press("greater_than_sign")
        await settle(pilot)
        assert line(app, "note") == " 51-100 of 119 · page 2 of 3"
        await pilot.press("less_than_sign", "slash", *"timeout", "enter")
        await settle(pilot)
        shown = len(app.screen.query_one("#jobs", Rows).rows)
        assert line(app, "note") == f" {shown} of this page match /timeout/ · page 1 of 3"
        await pilot.press("asterisk", "d")
        await settle(pilot)
        assert f"{shown} marked jobs leave email. Undo with u, job by job, until 12:10." in dialog(app)
        await pilot.press("y")
        await settle(pilot)
        assert sum(call[0] == "remove_job" for call in broken.calls) == shown
        assert line(app, "note").startswith(" 0 of this page match")
        await pilot.press("escape")
        assert isinstance(app.screen, QueueScreen)
        assert len(app.screen.query_one("#jobs", Rows).rows) == 50
        await pilot.press("space", "space", "r")
        await settle(pilot)
        assert "2 marked jobs of email run again" in dialog(app)


async def test_tabs_show_their_states_and_keys_follow(broken: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(broken)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert "R retry all" in hints(app)
        await pilot.press("2")
        await settle(pilot)
        assert isinstance(app.screen, QueueScreen)
        assert app.screen.state == JobState.ACTIVE
        assert "retry" not in hints(app)
        assert "remove" not in hints(app)
        await pilot.press("tab")
        await settle(pilot)
        assert app.screen.state == JobState.DELAYED
        await pilot.press("6")
        assert app.screen.state == JobState.DELAYED, "no paused tab while the queue is not paused"


async def test_a_paused_queue_opens_on_its_backlog(broken: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(broken)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("j", "j", "j", "j", "enter")
        await settle(pilot)
        assert isinstance(app.screen, QueueScreen)
        assert (app.screen.queue, app.screen.state) == ("data-export", JobState.PAUSED)
        assert len(app.screen.query_one("#jobs", Rows).rows) == 2


async def test_filter_on_the_overview_narrows_and_escape_widens(
    fake: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("slash", *"proc")
        names = [one.key for one in app.screen.query_one("#queues", Rows).rows]
        assert names == ["image-processing", "log-processing"]
        assert hints(app) == "⏎ keep esc show all"
        await pilot.press("enter", "escape")
        assert len(app.screen.query_one("#queues", Rows).rows) == 8
        assert not app.screen.query_one(Input).display


async def test_hostile_text_is_shown_not_obeyed(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    nasty = "[red]x[/red]\x1b]0;owned\x07[@click=app.quit]q[/]\ud800"
    fake.put(Job("h1", "email", nasty, JobState.WAITING, NOON, data={"to": nasty}))
    fake.fail("email", "h1", nasty, f"Traceback\n  {nasty}")
    fake.put(Job("h2", "email", nasty, JobState.ACTIVE, NOON, step=nasty, processed_on=NOON, progress=40))
    fake.redis = fake.redis.__class__(nasty, nasty, 1, 0, 0.3)
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        for keys in (("enter",), ("enter",), ("t", "v"), ("r",)):
            await pilot.press(*keys)
            await settle(pilot)
            picture = app.export_screenshot()
            assert "\x1b" not in picture
            assert "\x07" not in picture
        assert "[red]x[/red]␛]0;owned␇" in line(app, "title")


async def test_an_error_of_an_act_is_one_toast(
    fake: FakeOperations, dashboard: Make, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CloudqError("job x [bold]changed[/] meanwhile")

    monkeypatch.setattr(fake, "retry_job", refuse)
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("r")
        await settle(pilot)
        assert toasts(app) == ["job x [bold]changed[/] meanwhile"]
        assert app.pending == {}


async def test_read_only_refuses_before_any_dialog(dashboard: Make, settle: Settle) -> None:
    fake = FakeOperations(read_only=True)
    fake.put(Job("1", "email", "send-email", JobState.WAITING, NOON))
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        assert "read-only" in line(app, "status")
        await pilot.press("e")
        await settle(pilot)
        assert isinstance(app.screen, OverviewScreen)
        assert toasts(app) == ["this dashboard is read-only: nothing was changed"]


async def test_an_active_job_moves_while_one_looks(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("tab", "enter")
        await settle(pilot)
        assert isinstance(app.screen, JobScreen)
        job = fake.jobs[app.screen.queue][app.screen.job_id]
        fake.put(Job(job.id, job.queue, job.name, JobState.ACTIVE, NOON, progress=93, step="verify", processed_on=NOON))
        app.poller.poll()
        await settle(pilot)
        body = "\n".join(render.plain(one) for one in app.screen.query_one("#facts", Block).lines)
        assert "93%  verify" in body
        fake.jobs[job.queue].pop(job.id)
        app.poller.poll()
        await settle(pilot)
        assert line(app, "trouble") == " ✗ gone: it was removed, or is no longer kept"


async def test_copying_reaches_the_clipboard(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("y")
        assert app.clipboard == "f0000000"
        await pilot.press("Y")
        assert '"queue": "email"' in app.clipboard


async def test_the_worst_queue_is_one_key_away(broken: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(broken)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("G", "exclamation_mark")
        assert app.screen.query_one("#queues", Rows).current == "email"
        assert line(app, "headline").endswith("⏎ open")
        await pilot.press("w")
        await settle(pilot)
        assert isinstance(app.screen, NoteScreen)
        assert "2 workers serve it" in dialog(app)


async def test_the_palette_knows_every_queue(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("colon", *"pause sms")
        await app.workers.wait_for_complete([w for w in app.workers if w.group != "poll" and w.node is app.screen])
        await pilot.pause()
        await pilot.press("down", "enter")
        await settle(pilot)
        assert isinstance(app.screen, PauseScreen)
        assert app.screen.queue == "sms"


@pytest.mark.parametrize("size", [(59, 24), (80, 17), (20, 5)])
async def test_a_small_terminal_asks_for_room(
    size: tuple[int, int], fake: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    app = dashboard(fake)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        assert str(app.screen.render()).startswith("cloudq-tui needs 60x18, this is")
        await pilot.resize_terminal(60, 18)
        await settle(pilot)
        assert not app.has_class("-cramped")
        assert "? help" in hints(app)
        assert "email" in row(app, "email")
        await pilot.press("j")
        assert app.screen.query_one("#queues", Rows).cursor == 1


async def test_keys_work_again_when_a_small_terminal_grows(
    fake: FakeOperations, dashboard: Make, settle: Settle
) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("tab", "slash", *"em")
        for width in (50, 40, 80):
            await pilot.resize_terminal(width, 24)
            await settle(pilot)
        await pilot.press(*"ail")
        assert app.screen.query_one(Input).value == "email"
        await pilot.press("enter")
        await settle(pilot)
        await pilot.resize_terminal(50, 10)
        await settle(pilot)
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, QueueScreen)


async def test_a_long_job_scrolls_to_its_end(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    job = fake.enqueue("email", "send-email", {"to": "a"})
    fake.fail("email", job.id, "535 no", "Traceback\n" + "\n".join(f"  line {n}" for n in range(60)))
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("enter", "enter")
        await settle(pilot)
        await pilot.press("t", "G")
        await settle(pilot)
        body = app.screen.query_one(JobBody)
        assert body.scroll_y == body.max_scroll_y > 40
        await pilot.press("k")
        assert body.scroll_y == body.max_scroll_y - 1


class Worker:
    """An embedded worker's handle."""

    def __init__(self, log_path: Path) -> None:
        self.alive = True
        self.log_path = log_path
        self.stopped = threading.Event()

    def stop(self, grace: float) -> None:
        assert grace == 10
        self.stopped.set()


async def test_quit_stops_the_embedded_worker(
    fake: FakeOperations, dashboard: Make, settle: Settle, tmp_path: Path
) -> None:
    worker = Worker(tmp_path / "worker.log")
    app = dashboard(fake, worker=worker)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("q")
        await app.workers.wait_for_complete([w for w in app.workers if w.group == "quit"])
    assert worker.stopped.is_set()


async def test_the_worker_log_follows_the_file(
    fake: FakeOperations, dashboard: Make, settle: Settle, tmp_path: Path
) -> None:
    worker = Worker(tmp_path / "worker.log")
    worker.log_path.write_text("first \x1b[2J line\nsecond\nhalf", encoding="utf-8")
    app = dashboard(fake, worker=worker)
    async with app.run_test() as pilot:
        await settle(pilot)
        worker.alive = False
        app.refresh_live()
        assert "embedded worker  has stopped" in line(app, "headline")
        await pilot.press("l")
        await pilot.pause()
        assert isinstance(app.screen, WorkerLogScreen)
        log = app.screen.query_one(Log)
        assert list(log.lines)[:2] == ["first ␛[2J line", "second"]
        with worker.log_path.open("a", encoding="utf-8") as file:
            file.write(" now whole\n")
        app.screen._follow()
        assert "half now whole" in list(log.lines)
        await pilot.press("escape")
        assert isinstance(app.screen, OverviewScreen)


async def test_mouse_moves_and_opens(fake: FakeOperations, dashboard: Make, settle: Settle) -> None:
    app = dashboard(fake)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.click("#queues", offset=(10, 3))
        assert app.screen.query_one("#queues", Rows).current == "notification"
        await pilot.double_click("#queues", offset=(10, 3))
        await settle(pilot)
        assert isinstance(app.screen, QueueScreen)
        await pilot.click("#states", offset=(3, 0))
        assert app.screen.state == JobState.WAITING

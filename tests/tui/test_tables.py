"""Tables, headline, verdicts and the job's page as data: state in, text out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_operations import NOON, QUEUES, TRACEBACK, failing, healthy

from cloudq_tui.models.alert import Alert, AlertRule
from cloudq_tui.models.job import Attempt, Job, JobState, LogLine
from cloudq_tui.models.queue import LimiterState, Pause, Preview, QueueCounts, QueueView
from cloudq_tui.tui import headline, job_view, questions, render, tables, why
from cloudq_tui.tui.headline import Pulse
from cloudq_tui.tui.options import ViewOptions
from cloudq_tui.tui.text import width


@pytest.mark.parametrize("screen", [60, 72, 80, 86, 100, 120, 140, 200])
def test_every_row_is_as_wide_as_its_columns(screen: int) -> None:
    columns = tables.queue_columns(screen, 17)
    assert sum(column.columns for column in columns) <= screen
    for view in failing().snapshot().queues:
        line = tables.lay(tables.queue_row(view, columns, NOON), columns)
        assert width(render.plain(line)) == sum(column.columns for column in columns)


@pytest.mark.parametrize(
    ("screen", "keys"),
    [
        (60, "glyph name wait act dly fail fail% oldest"),
        (80, "glyph name wait act dly fail fail% in out oldest spark"),
        (140, "glyph name wait act dly fail done fail% in out oldest mean workers limit spark"),
    ],
)
def test_columns_drop_by_priority(screen: int, keys: str) -> None:
    assert [column.key for column in tables.queue_columns(screen, 17)] == keys.split()


def test_at_eighty_columns_every_platform_queue_is_named_whole() -> None:
    columns = tables.queue_columns(80, 17)
    for name in QUEUES:
        row = tables.queue_row(QueueView(name, QueueCounts()), columns, NOON)
        assert name in render.plain(tables.lay(row, columns))


def test_wide_names_keep_the_columns_straight() -> None:
    columns = tables.queue_columns(80, 40)
    for name in ("汉字" * 12, "e\x1b[2Jmail", "👨\u200d👩\u200d👧-jobs"):
        line = tables.lay(tables.queue_row(QueueView(name, QueueCounts(waiting=7)), columns, NOON), columns)
        assert width(render.plain(line)) == 80
        assert "\x1b" not in render.plain(line)


def test_a_paused_backlog_stands_dim_in_its_column_with_the_countdown() -> None:
    view = QueueView("email", QueueCounts(paused=420), pause=Pause("ops1", "", NOON, NOON + 90_000), oldest_waiting=1)
    row = tables.queue_row(view, tables.queue_columns(80, 17), NOON)
    assert row.cells[2] == (("420", "dim"),)
    assert "in 1m 30s" in [text for cell in row.cells for text, _ in cell]


def test_an_act_under_way_is_said_in_the_row() -> None:
    columns = tables.queue_columns(60, 17)
    row = tables.queue_row(QueueView("email", QueueCounts()), columns, NOON, "retrying…")
    assert "retrying…" in render.plain(tables.lay(row, columns))


@pytest.mark.parametrize("screen", [60, 80, 140])
@pytest.mark.parametrize("state", list(JobState))
def test_job_rows_fill_the_width_in_every_state(screen: int, state: JobState) -> None:
    job = Job("x" * 64, "email", "a-rather-long-job-name-indeed", state, NOON, error="\x1b]0;owned\x07" * 20)
    job = replace(job, due=NOON + 5_000, processed_on=NOON - 10, finished_on=NOON, step="汉字" * 30)
    columns = tables.job_columns(screen, state)
    text = render.plain(tables.lay(tables.job_row(job, columns, NOON, marked=True), columns))
    assert width(text) == screen
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("screen", [60, 80, 140])
def test_active_rows_fill_the_width(screen: int) -> None:
    columns = tables.active_columns(screen)
    for job in healthy().snapshot().active:
        assert width(render.plain(tables.lay(tables.active_row(job, columns, NOON), columns))) <= screen


# headline


def test_all_well_is_said_once() -> None:
    assert render.plain(headline.headline(healthy().snapshot(), "email", None, 80)) == " ✓ all queues healthy"


def test_the_worst_thing_comes_in_words_with_the_key_that_goes_there() -> None:
    snapshot = failing().snapshot()
    assert render.plain(headline.headline(snapshot, "email", None, 80)).endswith("⏎ open")
    line = render.plain(headline.headline(snapshot, "sms", None, 80))
    assert line == " ✗ email  119 failed, 17.2% of the last 15 minutes  ! go there"
    narrow = render.plain(headline.headline(snapshot, "sms", None, 45))
    assert narrow == " ✗ email  119 failed, 17.2% of t…  ! go there"
    assert width(narrow) == 45


def test_a_failure_rate_comes_before_a_late_queue_and_others_are_counted() -> None:
    fake = failing()
    fake.alerts["sms"] = [Alert("sms", AlertRule.WAITING, "5,000 jobs wait")]
    fake.alerts["data-export"] = [Alert("data-export", AlertRule.NO_WORKER, "no live worker")]
    assert "email  119 failed" in render.plain(headline.headline(fake.snapshot(), "", None, 80))
    assert "+2 more" in render.plain(headline.headline(fake.snapshot(), "", None, 80))


def test_a_dead_embedded_worker_is_told() -> None:
    assert "embedded worker" in render.plain(
        headline.headline(healthy().snapshot(), "", worker_alive=False, columns=80)
    )


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_line_one_keeps_live_and_clock(columns: int) -> None:
    options = ViewOptions(badge="PRODUCTION")
    for pulse in (Pulse(), Pulse(age=1.0), Pulse(age=12.0, stale=True), Pulse(age=1.0, reason="gone")):
        line = render.plain(headline.status_line(failing().snapshot(), options, pulse, "14:03", 0.3, columns))
        assert width(line) == columns
        assert line.endswith("14:03 ")
        assert render.plain(headline.live(pulse)) in line


def test_line_one_says_which_redis_as_far_as_there_is_room() -> None:
    fake = healthy()
    fake.redis = replace(fake.redis, version="valkey 9.1.2", address="embedded (/home/ops/.local/share/cloudq-tui)")
    lines = {
        columns: render.plain(
            headline.status_line(fake.snapshot(), ViewOptions(), Pulse(age=0.1), "14:03", 0.3, columns)
        )
        for columns in (80, 140)
    }
    assert " valkey 9.1.2 0.3ms 412M/2.0G  embedded  " in lines[80]
    assert "embedded (/home/ops/.local/share/cloudq-tui)" in lines[140]


def test_the_live_mark() -> None:
    assert render.plain(headline.live(Pulse(age=0.4))) == "● live"
    assert render.plain(headline.live(Pulse(age=12.4, stale=True))) == "○ stale 12s"
    away = headline.away(Pulse(age=12, reason="connection refused", retry_in=3), met=True)
    assert render.plain(away) == "✗ Redis away, retrying in 3s: connection refused"
    told = headline.away(Pulse(reason="Redis at embedded (/a/long/folder) cannot be used: no answer in 2 s"), met=True)
    assert render.plain(told) == "✗ Redis away, retrying now: no answer in 2 s"
    client = "Redis at redis://h:1/1 cannot be used: Error 111 connecting to h.example.com:1. Connection refused"
    assert (
        render.plain(headline.away(Pulse(reason=client), met=True)) == "✗ Redis away, retrying now: Connection refused"
    )
    first = render.plain(headline.away(Pulse(reason=client), met=False))
    assert first == "✗ Redis away, retrying now: Connection refused; Redis at redis://h:1/1"


def test_totals_drop_from_the_right() -> None:
    snapshot = healthy().snapshot()
    wide = render.plain(headline.totals(snapshot, 140))
    assert wide.startswith(" waiting 66   active 9   delayed 11   failed 8   completed 2.7k   workers 2   out ")
    assert width(render.plain(headline.totals(snapshot, 60))) <= 60


# verdicts


def test_why_a_queue_stands() -> None:
    view = QueueView("email", QueueCounts(paused=3), pause=Pause("ops1@bastion", "disk \x1b full", NOON - 760_000))
    assert why.verdict(view, NOON) == 'paused by ops1@bastion 12m 40s ago: "disk ␛ full"'
    assert why.verdict(QueueView("email", QueueCounts()), NOON) == "no live worker serves it"
    limited = QueueView("email", QueueCounts(), workers=1, limiter=LimiterState(100, 1000, 0, NOON + 400))
    assert why.verdict(limited, NOON) == "limited: the limiter has no start left"
    lines = [render.plain(line) for line in why.queue(limited, NOON)]
    assert "✗ limited: none of 100 starts in 1.0s left, the next in 0.4s" in lines
    full = QueueView("data-export", QueueCounts(waiting=9, active=2), workers=1, concurrency=2)
    assert why.verdict(full, NOON) == "concurrency full: 2 jobs of this queue run, as many as may"
    assert "✗ concurrency full: 2 of 2 jobs at one time" in [render.plain(line) for line in why.queue(full, NOON)]
    free = replace(full, counts=QueueCounts(waiting=9, active=1))
    assert why.verdict(free, NOON) == "waits its turn; nothing holds the queue up"
    assert "✓ concurrency: 1 of 2 jobs at one time" in [render.plain(line) for line in why.queue(free, NOON)]


def test_why_a_job_is_where_it_is() -> None:
    job = Job("1", "email", "send-email", JobState.FAILED, NOON, retries=3, attempts_made=4)
    attempts = [Attempt(n, "failed", "timeout" if n < 3 else "535") for n in range(1, 5)]
    told = why.job(replace(job, attempts=tuple(attempts)), None, NOON)
    assert told == "failed for good: 4 attempts used, the last 2 with the same error"
    delayed = replace(job, state=JobState.DELAYED, attempts_made=2, due=NOON + 4_000)
    assert why.job(delayed, None, NOON) == "due in 4s: backoff, attempt 3 of 4"
    assert why.job(replace(job, reason="cancelled by ops1"), None, NOON) == "failed for good: cancelled by ops1"
    once = replace(job, reason="error", attempts_made=1)
    assert why.job(once, None, NOON) == "failed for good at attempt 1 of 4: trying again cannot help"


# one job


def _page(job: Job, **shown: object) -> str:
    lines = job_view.body(job, None, NOON, ViewOptions(), job_view.Shown(**shown))  # type: ignore[arg-type]
    return "\n".join(render.plain(line) for line in lines)


def _failed(**fields: object) -> Job:
    attempt = Attempt(1, "failed", "535 [bold]no[/]", TRACEBACK, NOON - 400, NOON, "web-3:311")
    job = Job("1", "email", "send-email", JobState.FAILED, NOON, attempts_made=1, attempts=(attempt,))
    return replace(job, **fields)  # type: ignore[arg-type]


def test_a_closed_traceback_shows_where_it_happened() -> None:
    page = _page(_failed())
    assert "/srv/cloudq/tasks/clients/smtp.py:88 in login" in page
    assert "8 lines of traceback  t open" in page
    assert "Traceback (most recent call last)" not in page
    assert "Traceback (most recent call last)" in _page(_failed(), traceback=True)


def test_a_payload_is_short_until_opened() -> None:
    job = _failed(data={"to": "t***@example.com", "html": "x" * 1200, "cc": ["a", "b", "c", "d"]})
    page = _page(job)
    assert "to t***@example.com" in page
    assert "html 1.2 kB" in page
    assert "cc 4 items" in page
    assert "v all" in page
    assert "x" * 1200 in _page(job, payload=True)


def test_nothing_a_job_carries_reaches_the_terminal_unescaped() -> None:
    nasty = "\x1b]52;c;b3duZWQ=\x07[red]\u202e\x9b2J"
    attempt = Attempt(1, nasty, nasty, nasty, NOON, NOON, nasty)
    job = _failed(
        name=nasty,
        error=nasty,
        attempts=(attempt,),
        data={nasty: [nasty, {nasty: nasty}]},
        result={nasty: nasty},
        logs=(LogLine(NOON, nasty),),
        options={nasty: nasty},
        checkpoint=nasty,
        step=nasty,
        progress=5,
        worker=nasty,
    )
    page = _page(job, traceback=True, payload=True) + render.plain(job_view.title(job, NOON, 80, ()))
    for character in ("\x1b", "\x07", "\u202e", "\x9b"):
        assert character not in page
    assert "␛]52" in page
    assert "[red]" in page


def test_many_attempts_stay_on_one_line() -> None:
    attempts = tuple(Attempt(n, "failed", "x", "", NOON, NOON + 5) for n in range(1, 60))
    lines = _page(_failed(attempts=attempts)).split("\n")
    [line] = [line for line in lines if line.startswith(" ATTEMPTS")]
    assert width(line) <= 80
    assert "▸59" in line


def test_questions_name_queue_and_count_and_ask_for_the_name_above_the_threshold() -> None:
    fake = failing()
    view = fake.snapshot().queue("email")
    assert view is not None
    question = questions.empty(view, fake.preview_empty("email"), NOON, 100, "12:10")
    assert render.plain(question.lines[0]) == "42 waiting and 3 delayed jobs leave the queue."
    assert render.plain(question.lines[-1]) == "2 active jobs go on. Undo with u until 12:10."
    assert question.command == "cloudq-tui empty email"
    assert question.phrase == ""
    assert questions.empty(view, fake.preview_empty("email"), NOON, 44, "12:10").phrase == "email"
    many = questions.retry_all("email", fake.preview_retry("email"), NOON, 100, "12:10")
    assert many.phrase == "email"
    assert "105x" in render.plain(many.lines[2])


def test_a_question_says_when_its_number_is_only_the_most() -> None:
    def asked(preview: Preview) -> str:
        return render.plain(questions.clean("email", preview, "waiting", 1000, NOON, 100, "12:10").lines[0])

    assert asked(Preview(300)) == "300 waiting jobs older than 1s leave email."
    assert asked(Preview(300, at_most=True)) == "Of 300 waiting jobs, those older than 1s leave email."

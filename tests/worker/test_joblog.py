"""Lines about jobs are whole, in order, and never lost, whoever writes at the same moment."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator
from select import PIPE_BUF

import pytest

from cloudq_tui.engine.records import ClaimedJob, Finish, Outcome
from cloudq_tui.worker import joblog

Install = Callable[[], "Pieces"]


class Pieces(io.StringIO):
    """A stream that keeps what it is given by each write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


def claim(job_id: str) -> ClaimedJob:
    return ClaimedJob("email", job_id, "t.1", "send-email", b"", 5, 0, 0, 0, 0, 0, "", 0, None, None, None)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Pieces]]:
    """Sets the logger up as a consumer does, writing into pieces. Called by the test itself: between a test's setup
    and its call pytest gives handlers of its own to loggers that do not propagate."""
    level, propagate = joblog.logger.level, joblog.logger.propagate

    def install() -> Pieces:
        pieces = Pieces()
        monkeypatch.setattr(joblog.logger, "handlers", [])
        monkeypatch.setattr(joblog.sys, "stderr", pieces)
        joblog.install(logging.INFO)
        return pieces

    yield install
    joblog.logger.setLevel(level)
    joblog.logger.propagate = propagate


def test_lines_are_written_together_in_pieces_that_a_pipe_keeps_whole(installed: Install) -> None:
    stream = installed()
    for n in range(200):
        joblog.started(joblog.about(claim(f"{n:032}")))
    assert stream.pieces == []
    joblog.flush()
    assert 1 < len(stream.pieces) < 20
    assert all(len(piece) <= PIPE_BUF and piece.endswith("\n") for piece in stream.pieces)
    lines = "".join(stream.pieces).splitlines()
    assert [f'"jobId":"{n:032}"' in line for n, line in enumerate(lines)] == [True] * 200


def test_a_line_longer_than_a_pipe_keeps_whole_is_written_all_the_same(installed: Install) -> None:
    stream = installed()
    for job_id in ("a", "b" * 2 * PIPE_BUF, "c"):
        joblog.started(joblog.about(claim(job_id)))
    joblog.flush()
    assert [line.count("queue_job_start") for line in "".join(stream.pieces).splitlines()] == [1, 1, 1]


def test_what_else_is_logged_keeps_its_place(installed: Install) -> None:
    stream = installed()
    joblog.started(joblog.about(claim("a")))
    joblog.logger.warning("in between")
    joblog.started(joblog.about(claim("b")))
    joblog.flush()
    first, between, last = "".join(stream.pieces).splitlines()
    assert '"a"' in first
    assert between == "in between"
    assert '"b"' in last


def test_no_line_is_lost_when_threads_write_while_one_flushes(installed: Install) -> None:
    stream = installed()

    def say(name: int) -> None:
        for n in range(2000):
            joblog.started(joblog.about(claim(f"{name}-{n}")))

    threads = [threading.Thread(target=say, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        joblog.flush()
    joblog.flush()
    lines = "".join(stream.pieces).splitlines()
    assert len(lines) == len(set(lines)) == 6000


def test_a_stream_that_is_gone_stops_no_job(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = installed()

    def gone(_: str) -> int:
        raise BrokenPipeError

    with monkeypatch.context() as patched:
        patched.setattr(stream, "write", gone)
        joblog.started(joblog.about(claim("a")))
        joblog.flush()
    joblog.ended(joblog.about(claim("a")), Finish("email", "a", "t.1", Outcome.COMPLETED), 0.1)
    joblog.flush()
    assert ["queue_job_complete" in piece for piece in stream.pieces] == [True]

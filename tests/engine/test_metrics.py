"""What is read of the counters and histograms that the finishes keep."""

from __future__ import annotations

import pytest

from cloudq_tui.engine.records import FailureKind, Outcome
from cloudq_tui.engine.scripts import Scripts
from cloudq_tui.models.metrics import BOUNDS_MS, MinuteMetrics, Spread

from .conftest import QUEUE, Bench


def run(bench: Bench, name: str, outcome: Outcome, *, wait: int = 0, took: int = 0, **fields: object) -> None:
    bench.add(name=name)
    bench.pass_time(wait)
    job = bench.claim()[0]
    bench.pass_time(took)
    assert bench.finish(job, outcome, error="no", **fields)


def test_counts_and_times_by_job_name(bench: Bench) -> None:
    for _ in range(99):
        run(bench, "a|b", Outcome.COMPLETED, wait=7, took=30)
    run(bench, "a|b", Outcome.FAILED, took=8000)
    run(bench, "c", Outcome.FAILED, kind=FailureKind.CANCELLED)
    metrics = bench.reader.metrics(QUEUE)
    first, second = metrics.jobs
    assert (first.name, first.completed, first.failed, first.excluded, first.retried) == ("a|b", 99, 1, 0, 0)
    assert first.duration.mean == pytest.approx((99 * 30 + 8000) / 100)
    assert first.duration.p50 is not None
    assert 25 < first.duration.p50 <= first.duration.p95 <= first.duration.p99 <= 50  # type: ignore[operator]
    assert first.wait.mean == pytest.approx(99 * 7 / 100)
    assert (second.name, second.excluded, second.duration, second.wait) == ("c", 1, Spread(), Spread())


def test_each_minute_of_the_last_day(bench: Bench) -> None:
    began = bench.now() // 60_000 * 60_000
    run(bench, "a", Outcome.COMPLETED, took=20)
    run(bench, "a", Outcome.RETRY, took=10)
    bench.engine.empty(QUEUE, cutoff=bench.now())
    bench.pass_time(3_600_000)
    run(bench, "a", Outcome.FAILED, took=5)
    metrics = bench.reader.metrics(QUEUE)
    assert metrics.minutes == (
        MinuteMetrics(began, completed=1, retried=1, busy=30),
        MinuteMetrics(began + 3_600_000, failed=1, busy=5),
    )
    bench.pass_time(23 * 3_600_000)
    assert [minute.failed for minute in bench.reader.metrics(QUEUE).minutes] == [1], "a day, and no more"
    assert bench.reader.metrics(QUEUE).jobs[0].retried == 1, "by name they stay"


def test_a_queue_that_did_nothing_has_nothing_to_tell(bench: Bench) -> None:
    bench.add()
    metrics = bench.reader.metrics(QUEUE)
    assert (metrics.queue, metrics.jobs, metrics.minutes) == (QUEUE, (), ())


def test_a_percentile_lies_within_its_bucket() -> None:
    buckets = [0] * (len(BOUNDS_MS) + 1)
    buckets[3] = 10  # above 25 up to 50 ms
    spread = Spread.of(400, buckets)
    assert (spread.mean, spread.p50, spread.p99) == (40.0, 37.5, pytest.approx(49.75))
    buckets[-1] = 90
    assert Spread.of(1, buckets).p95 == BOUNDS_MS[-1], "of what is longer than the last bound only that is known"


def test_the_scripts_and_the_reader_have_one_set_of_bounds(bench: Bench) -> None:
    assert f"local BOUNDS = {{ {', '.join(map(str, BOUNDS_MS))} }}" in Scripts()["finish"].text
    for at, bound in enumerate(BOUNDS_MS):
        run(bench, f"job-{at:02}", Outcome.COMPLETED, took=bound)
        run(bench, f"job-{at:02}", Outcome.COMPLETED, took=bound + 1)
    totals = bench.connection.client.hgetall("{cloudq:email}:t")
    for at in range(len(BOUNDS_MS)):
        assert {field for field in totals if field.startswith(b"job-%02d|D" % at)} == {
            b"job-%02d|D%d" % (at, bucket) for bucket in (at + 1, at + 2)
        }

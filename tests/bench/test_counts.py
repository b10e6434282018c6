"""The counts of the bench, short: how often a job crosses the wire and what it costs in memory. Never a time."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bench import Bench, started

pytestmark = pytest.mark.xdist_group("bench")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with started() as made:
        yield made


def test_round_trips_are_shared_under_load(bench: Bench) -> None:
    assert bench.trips_under_load("ours", 3000) <= 0.2


def test_a_lone_job_costs_three_round_trips_at_most(bench: Bench) -> None:
    _, trips = bench.pickup("ours", 50)
    # The leases' own calls, a few in each second, are counted too.
    assert trips <= 3.0 + 0.2


@pytest.mark.parametrize("program", ["", "redis-server"], ids=["the wheel's server", "the system's Redis"])
def test_bytes_per_job(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which(program)
    if program and found is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"no {program} on PATH")
    if found is not None:
        monkeypatch.setenv("CLOUDQ_TEST_REDIS", found)
    with started() as bench:
        waiting, completed = bench.bytes_per_job("ours", 10_000)
    assert waiting <= 800
    assert completed <= 1000

"""The screens as pictures, at two sizes, clock and cursor frozen. Look at each before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_operations import FakeOperations
from textual.pilot import Pilot

from cloudq_tui.tui.app import CloudqApp

Make = Callable[..., CloudqApp]
Settle = Callable[[Pilot[Any]], Awaitable[None]]
SIZES = [pytest.param((80, 24), id="80x24"), pytest.param((140, 40), id="140x40")]


@pytest.fixture
def keys(settle: Settle) -> Callable[..., Callable[[Pilot[Any]], Awaitable[None]]]:
    """Presses keys, each after everything before it has come back."""

    def pressing(*names: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
        async def run(pilot: Pilot[Any]) -> None:
            await settle(pilot)
            for name in names:
                await pilot.press(name)
                await settle(pilot)

        return run

    return pressing


@pytest.mark.parametrize("size", SIZES)
def test_overview_healthy(size: Any, fake: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(fake), terminal_size=size, run_before=keys())


@pytest.mark.parametrize("size", SIZES)
def test_overview_failing_and_paused(
    size: Any, broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any
) -> None:
    assert snap_compare(dashboard(broken), terminal_size=size, run_before=keys())


def test_overview_smallest(broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(broken), terminal_size=(60, 18), run_before=keys())


@pytest.mark.parametrize("size", SIZES)
def test_queue_with_marks(size: Any, broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(broken), terminal_size=size, run_before=keys("enter", "j", "space", "space"))


@pytest.mark.parametrize("size", SIZES)
def test_failed_job_with_traceback(
    size: Any, broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any
) -> None:
    assert snap_compare(dashboard(broken), terminal_size=size, run_before=keys("enter", "enter", "t"))


def test_confirm(broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(broken), run_before=keys("e"))


def test_confirm_with_typed_name(broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(broken), run_before=keys("r", "e", "m"))


def test_pause(fake: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(fake), run_before=keys("p", *"nas", "tab", *"15m"))


def test_clean(fake: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(fake), run_before=keys("c", "right"))


def test_help(fake: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(fake), run_before=keys("question_mark"))


def test_why(broken: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(broken), run_before=keys("j", "j", "j", "j", "w"))


def test_redis_away(fake: FakeOperations, dashboard: Make, settle: Settle, keys: Any, snap_compare: Any) -> None:
    app = dashboard(fake)

    async def lose(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        fake.away = "connection to localhost:6379 refused"
        app.poller.poll()
        await settle(pilot)

    assert snap_compare(app, run_before=lose)


def test_too_small(fake: FakeOperations, dashboard: Make, keys: Any, snap_compare: Any) -> None:
    assert snap_compare(dashboard(fake), terminal_size=(50, 12), run_before=keys())

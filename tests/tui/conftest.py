"""The dashboard on a fake of the operations, with a frozen clock."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from textual.pilot import Pilot
from textual.screen import ModalScreen

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the fake stands beside the tests

from fake_operations import NOON, FakeOperations, failing, healthy

from cloudq_tui.tui.app import CloudqApp


class Clock:
    """Epoch seconds that move only when told to."""

    def __init__(self) -> None:
        self.now = NOON / 1000

    def __call__(self) -> float:
        return self.now


def view_settings(**dashboard: Any) -> Any:
    """The part of the settings that the view reads."""
    given = {"badge": "", "profile": "prod", "colour": "", "read_only": False, "confirm_threshold": 100}
    return SimpleNamespace(dashboard=SimpleNamespace(**{**given, **dashboard}), zone=ZoneInfo("UTC"))


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that does not blink: snapshots are compared byte by byte."""
    monkeypatch.setattr("textual.widgets.Input.cursor_blink", False)
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dashboard(clock: Clock) -> Callable[..., CloudqApp]:
    """Makes the app; it looks at the operations only when a test asks, since the period is an hour."""

    def make(operations: FakeOperations, *, worker: Any = None, **settings: Any) -> CloudqApp:
        app = CloudqApp(
            operations,  # type: ignore[arg-type]
            settings=view_settings(**settings),
            worker=worker,
            refresh=3600,
            clock=clock,
        )
        app.animation_level = "none"
        return app

    return make


@pytest.fixture
def fake() -> FakeOperations:
    return healthy()


@pytest.fixture
def broken() -> FakeOperations:
    return failing()


@pytest.fixture
def settle() -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Wait until looks and acts under way have come back and are drawn."""

    async def wait(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, CloudqApp)
        for _ in range(1000):
            await pilot.pause()
            acting = app.actions._busy and not isinstance(app.screen, ModalScreen)
            if not acting and not app.poller.in_flight:
                break
            await pilot.pause(0.005)
        await pilot.pause()

    return wait

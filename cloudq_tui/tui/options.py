"""What the person set about the view, read once from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudq_tui.settings import Settings

LOUD = {"prod", "production", "live"}
"""Profile names that wear red unless a colour was chosen."""


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """`badge` empty: no badge. `zone` None: this host's time zone."""

    badge: str = ""
    badge_colour: str = ""
    read_only: bool = False
    confirm_threshold: int = 100
    page_size: int = 50
    zone: tzinfo | None = None

    @classmethod
    def of(cls, settings: Settings | None) -> ViewOptions:
        if settings is None:
            return cls()
        dashboard = settings.dashboard
        colour = dashboard.colour
        if not colour and dashboard.profile.lower() in LOUD:
            colour = "#d94a54"
        return cls(
            badge=dashboard.badge or dashboard.profile.upper(),
            badge_colour=colour,
            read_only=dashboard.read_only,
            confirm_threshold=dashboard.confirm_threshold,
            zone=settings.zone,
        )

    def clock(self, seconds: float) -> str:
        """HH:MM of an epoch time."""
        return self._local(seconds).strftime("%H:%M")

    def time(self, milliseconds: int) -> str:
        """HH:MM:SS of an epoch time in ms."""
        return self._local(milliseconds / 1000).strftime("%H:%M:%S")

    def date_time(self, milliseconds: int) -> str:
        return self._local(milliseconds / 1000).strftime("%Y-%m-%d %H:%M:%S")

    def _local(self, seconds: float) -> datetime:
        try:
            return datetime.fromtimestamp(seconds, tz=self.zone).astimezone(self.zone)
        except (OverflowError, ValueError, OSError):
            return datetime.fromtimestamp(0, tz=self.zone).astimezone(self.zone)

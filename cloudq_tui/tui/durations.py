"""Durations as people type them: `15m`, `2h`, `1d 12h`, `90` (seconds)."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = timedelta(days=3650)


def parse(text: str) -> timedelta:
    """Raises ValueError with the sentence to show."""
    bare = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+", bare):
        bare += "s"
    if not re.fullmatch(r"(\d+[smhd])+", bare):
        raise ValueError("write a duration such as 15m, 2h or 1d")
    seconds = sum(int(amount) * _UNITS[unit] for amount, unit in re.findall(r"(\d+)([smhd])", bare))
    if seconds > _LONGEST.total_seconds():
        raise ValueError("that is longer than ten years")
    return timedelta(seconds=seconds)


def text(duration: timedelta) -> str:
    """The shortest way to write it: `24h`, `15m`, `1d12h`."""
    left = int(duration.total_seconds())
    if left and left % 3600 == 0 and left <= 48 * 3600:
        return f"{left // 3600}h"
    parts = []
    for unit in ("d", "h", "m", "s"):
        amount, left = divmod(left, _UNITS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def text_ms(milliseconds: int) -> str:
    return text(timedelta(milliseconds=milliseconds))

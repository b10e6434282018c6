"""The clipboard over any terminal: OSC 52, wrapped for tmux and screen, capped like k9s caps it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

MAX_ENCODED = 74_994
"""What terminals take in one OSC 52 sequence (xterm's limit, as k9s uses it)."""

_SCREEN_CHUNK = 76
"""screen cuts longer strings inside one DCS."""


def copied(text: str) -> tuple[str, bool]:
    """The part that fits into one sequence, and whether that is all of it."""
    room = MAX_ENCODED // 4 * 3
    octets = text.encode("utf-8", "replace")
    if len(octets) <= room:
        return text, True
    return octets[:room].decode("utf-8", "ignore"), False


def sequence(text: str, environment: Mapping[str, str]) -> str:
    """The escape sequence that puts `text` on the clipboard of the terminal the person sits at."""
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    plain = f"\x1b]52;c;{encoded}\a"
    if environment.get("TMUX"):
        doubled = plain.replace("\x1b", "\x1b\x1b")
        return f"\x1bPtmux;{doubled}\x1b\\"
    if environment.get("STY"):
        parts = [plain[start : start + _SCREEN_CHUNK] for start in range(0, len(plain), _SCREEN_CHUNK)]
        return "".join(f"\x1bP{part}\x1b\\" for part in parts)
    return plain

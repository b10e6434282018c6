"""OSC 52 as terminals, tmux and screen want it."""

from __future__ import annotations

import base64

from cloudq_tui.tui import clipboard


def test_bare_wrapped_for_tmux_and_cut_for_screen() -> None:
    encoded = base64.b64encode(b"id-1").decode()
    assert clipboard.sequence("id-1", {}) == f"\x1b]52;c;{encoded}\a"
    assert clipboard.sequence("id-1", {"TMUX": "x"}) == f"\x1bPtmux;\x1b\x1b]52;c;{encoded}\a\x1b\\"
    inside = clipboard.sequence("x" * 300, {"STY": "x"})
    parts = inside.split("\x1b\\")[:-1]
    assert all(part.startswith("\x1bP") and len(part) <= 78 for part in parts)
    joined = "".join(part.removeprefix("\x1bP") for part in parts)
    assert joined == clipboard.sequence("x" * 300, {})


def test_long_text_is_capped_between_characters() -> None:
    part, whole = clipboard.copied("汉" * 40_000)
    assert not whole
    assert len(base64.b64encode(part.encode())) <= clipboard.MAX_ENCODED
    assert set(part) == {"汉"}
    assert clipboard.copied("short") == ("short", True)

"""The help text: keys of the screen one came from, then those that work everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from cloudq_tui.tui.render import Line
from cloudq_tui.tui.text import fit

GENERAL: tuple[tuple[str, str], ...] = (
    ("j k ↑ ↓", "one row down or up"),
    ("g G  ^d ^u", "first, last; half a page"),
    ("esc", "always goes back"),
    (":", "command palette"),
    ("u", "undo your last act"),
    ("l", "the embedded worker's log"),
    ("q", "quit"),
)

GLYPHS: Line = (
    ("● ", "good"),
    ("healthy  ", "muted"),
    ("▲ ", "warn"),
    ("warning  ", "muted"),
    ("✗ ", "bad"),
    ("failing  ", "muted"),
    ("‖ ", "accent"),
    ("paused  ", "muted"),
    ("◌ ", "warn"),
    ("no worker", "muted"),
)


def lines(keys: Sequence[tuple[str, str]]) -> list[Line]:
    """Two columns of keys, then the glyphs."""
    known = {label for _, label in GENERAL}
    own = [pair for pair in keys if pair[1] not in known]
    out: list[Line] = [(("HERE", "accent"),)]
    out += _pairs(own)
    out += [(), (("EVERYWHERE", "accent"),)]
    out += _pairs(GENERAL)
    out += [(), GLYPHS]
    out.append((("FAIL% is over the finishes of the last 15 minutes.", "dim"),))
    return out


def _pairs(keys: Sequence[tuple[str, str]]) -> list[Line]:
    half = -(-len(keys) // 2)
    out: list[Line] = []
    for place in range(half):
        line: list[tuple[str, str]] = [keys[place]]
        if half + place < len(keys):
            line.append(keys[half + place])
        spans = [span for key, label in line for span in ((f"{fit(key, 10)} ", "key"), (fit(label, 25), "plain"))]
        out.append(tuple(spans))  # type: ignore[arg-type]
    return out

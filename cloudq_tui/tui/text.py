"""Text that others wrote, made fit for a terminal. Pure functions; imports rich's cell widths and nothing else.

Whatever a job carries is data: a control sequence in an error message is shown, never sent, and a character whose
width terminals disagree about never bends a column.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

_JOINERS = {"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\ufe0e", "\ufe0f"}
"""Invisible, and drawn with different widths by different terminals: left out."""

REPLACEMENT = "\ufffd"


def _symbol(character: str) -> str:
    code = ord(character)
    if character in _JOINERS:
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    category = unicodedata.category(character)
    if category in {"Zl", "Zp"}:
        return "\u2424"
    # C1 controls, lone surrogates, bidirectional overrides, tags and unassigned code points.
    if category in {"Cc", "Cf", "Cs", "Cn", "Co"}:
        return REPLACEMENT
    return character


def visible(text: object) -> str:
    """One line in which every control character is a symbol (`␛`, `␊`)."""
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_symbol(character) for character in plain)


def lines(text: object) -> list[str]:
    """The lines of a longer text, each made visible; tabs become four spaces."""
    plain = str(text).replace("\r\n", "\n").replace("\t", "    ")
    return [visible(line) for line in plain.removesuffix("\n").split("\n")] if plain else []


def width(text: str) -> int:
    """Columns that the text takes on the screen."""
    return cell_len(text)


def fit(text: str, columns: int, *, right: bool = False) -> str:
    """Exactly so many columns: padded, or cut with an ellipsis."""
    if columns <= 0:
        return ""
    used = cell_len(text)
    if used > columns:
        return set_cell_size(text, columns - 1) + "…"
    return " " * (columns - used) + text if right else text + " " * (columns - used)


def short_id(job_id: str, columns: int = 8) -> str:
    """The first characters of a machine-made id; an id that a person chose stays as long as there is room."""
    shown = visible(job_id)
    bare = shown.replace("-", "")
    if len(bare) == 32 and all(character in "0123456789abcdefABCDEF" for character in bare):
        return shown[:8]
    return fit(shown, columns).rstrip()

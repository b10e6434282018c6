"""What others wrote reaches the screen as data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cloudq_tui.tui.text import fit, lines, short_id, visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\nb\tc\rd", "a␊b␉c␍d"),
        ("bell\x07 del\x7f", "bell␇ del␡"),
        ("\x9b31m", "\ufffd31m"),
        ("\u202egpj.exe", "\ufffdgpj.exe"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("line\u2028separator", "line␤separator"),
        ("[bold]not markup[/]", "[bold]not markup[/]"),
        ("汉字 ok", "汉字 ok"),
        ("👨\u200d👩 ❤\ufe0f", "👨👩 ❤"),
    ],
)
def test_controls_become_symbols(raw: str, shown: str) -> None:
    assert visible(raw) == shown


@given(st.text(alphabet=st.characters(), max_size=60), st.integers(1, 40), st.booleans())
def test_a_fitted_text_has_exactly_its_columns_and_no_control(raw: str, columns: int, right: bool) -> None:
    fitted = fit(visible(raw), columns, right=right)
    assert cell_len(fitted) == columns
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in fitted)
    fitted.encode("utf-8")


def test_wide_characters_are_cut_between_columns() -> None:
    assert fit("汉字汉字", 5) == "汉字…"
    assert fit("汉字汉字", 4) == "汉 …"


def test_lines_expand_tabs_and_keep_empty_lines() -> None:
    assert lines("a\r\n\n\tb\n") == ["a", "", "    b"]
    assert lines("") == []


def test_machine_made_ids_are_short_and_chosen_ones_stay() -> None:
    assert short_id("4f1c9a02-89ab-4def-8123-456789abcdef") == "4f1c9a02"
    assert short_id("order-7") == "order-7"
    assert short_id("order-2025-10-21") == "order-2…"

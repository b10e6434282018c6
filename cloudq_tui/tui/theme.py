"""The colours: one theme of our own, and what each tone looks like in whatever theme the person chose."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color, ColorParseError
from textual.theme import Theme

from cloudq_tui.tui.render import Tone

NIGHT = Theme(
    name="cloudq",
    primary="#7aa2d6",
    secondary="#5f87af",
    accent="#7aa2d6",
    foreground="#d3d7de",
    background="#101317",
    surface="#161a20",
    panel="#1e242c",
    success="#84b97c",
    warning="#e0b060",
    error="#ef6b73",
    dark=True,
    variables={"block-cursor-background": "#29364a", "input-cursor-background": "#d3d7de"},
)


def _colour(variables: Mapping[str, str], name: str, otherwise: str) -> Color:
    try:
        return Color.parse(variables.get(name, otherwise))
    except ColorParseError:
        return Color.parse(otherwise)


class Palette:
    """Tones as rich styles, from a theme's variables."""

    def __init__(self, variables: Mapping[str, str], badge: str = "") -> None:
        ink = _colour(variables, "foreground", "#d3d7de")
        paper = _colour(variables, "background", "#101317")
        error = _colour(variables, "error", "#ef6b73")
        accent = _colour(variables, "primary", "#7aa2d6")
        label = accent
        if badge:
            try:
                label = Color.parse(badge)
            except ColorParseError:
                label = accent
        muted, dim = paper.blend(ink, 0.66), paper.blend(ink, 0.4)
        self._styles: dict[Tone, Style] = {
            "plain": Style(color=ink.rich_color),
            "strong": Style(color=ink.rich_color, bold=True),
            "muted": Style(color=muted.rich_color),
            "dim": Style(color=dim.rich_color),
            "good": Style(color=_colour(variables, "success", "#84b97c").rich_color),
            "warn": Style(color=_colour(variables, "warning", "#e0b060").rich_color),
            "bad": Style(color=error.rich_color),
            "accent": Style(color=accent.rich_color),
            "key": Style(color=accent.rich_color, bold=True),
            "badge": Style(color=label.get_contrast_text(1.0).rich_color, bgcolor=label.rich_color, bold=True),
            "alarm": Style(color=error.get_contrast_text(1.0).rich_color, bgcolor=error.rich_color, bold=True),
        }

    def __getitem__(self, tone: Tone) -> Style:
        return self._styles[tone]

"""Charts as PNG pictures, by matplotlib without a display.

Labels come from data, so nothing in them is read as mathematics. Figures are drawn one at a time: matplotlib's
settings and font caches are the process's.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cloudq_tui.errors import PermanentFailure

_LOCK = threading.Lock()
_LABELS = 30  # along the bottom; of more every n-th is written
_LABEL_LENGTH = 24
_BARS = 500  # of one series; more are thinner than a dot, and drawing each takes a millisecond
# Okabe and Ito's colours, told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8c8c8c", "#F0E442")


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one set of bars. None leaves a gap."""

    label: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture to draw. `stacked` piles its bars."""

    title: str
    kind: Literal["bar", "stacked", "line"]
    x: Sequence[str]
    series: Sequence[Series]
    unit: str = ""


class ChartPainter:
    """Draws charts; `fonts` are asked for letters that DejaVu Sans lacks."""

    def __init__(self, fonts: Sequence[Path] = ()) -> None:
        self._families = ["DejaVu Sans"]
        with _LOCK:
            for font in fonts:
                try:
                    font_manager.fontManager.addfont(font)
                    self._families.append(font_manager.FontProperties(fname=font).get_name())
                except (OSError, RuntimeError) as error:
                    reason = getattr(error, "strerror", None) or "no font that can be read"
                    raise PermanentFailure(f"reports.fonts: {font.name}: {reason}") from None

    def paint(self, chart: Chart) -> bytes:
        """The chart as PNG."""
        settings: dict[Any, Any] = {
            "text.parse_math": False,
            "text.usetex": False,
            "font.family": self._families,
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.formatter.use_mathtext": False,
        }
        with _LOCK, mpl.rc_context(settings), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a letter no font has is a box in the picture, not a fault
            figure = Figure(figsize=(7.2, 2.8), dpi=144, layout="constrained")
            _draw(figure, chart)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", metadata={"Software": None})
            return buffer.getvalue()


def _draw(figure: Figure, chart: Chart) -> None:
    axes = figure.add_subplot()
    places = range(len(chart.x))
    count = max(1, len(chart.series))
    piled = [0.0] * len(chart.x)
    for index, series in enumerate(chart.series):
        colour = _COLOURS[index % len(_COLOURS)]
        values = [float("nan") if value is None else float(value) for value in series.values]
        label = _short(series.label)
        if chart.kind == "line":
            axes.plot(places, values, label=label, color=colour, linewidth=1.5)
        elif chart.kind == "stacked":
            solid = [0.0 if value != value else value for value in values]  # noqa: PLR0124 - NaN is not itself
            _bars(axes, places, solid, piled, width=0.7, label=label, color=colour)
            piled = [below + value for below, value in zip(piled, solid, strict=True)]
        else:
            width = 0.8 / count
            beside = [x + (index - (count - 1) / 2) * width for x in places]
            _bars(axes, beside, values, [0.0] * len(values), width=width, label=label, color=colour)
    every = max(1, -(-len(chart.x) // _LABELS))
    shown = list(places)[::every]
    turned = max((len(text) for text in chart.x), default=0) * len(shown) > 90
    axes.set_xticks(
        shown, [_short(chart.x[x]) for x in shown], rotation=30 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_ylabel(chart.unit)
    axes.set_title(chart.title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(axis="y", alpha=0.25)
    if any(series.label for series in chart.series):
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _bars(
    axes: Axes, x: Sequence[float], heights: Sequence[float], below: Sequence[float], *, width: float, **look: Any
) -> None:
    if len(x) <= _BARS:
        axes.bar(x, heights, width, bottom=below, **look)
    else:
        axes.vlines(x, below, [low + height for low, height in zip(below, heights, strict=True)], linewidth=1, **look)


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 1] + "…"

"""Lays HTML out as PDF by fpdf2: headings, paragraphs, lists, tables and pictures that the HTML itself carries.

The fonts are DejaVu Sans, which matplotlib brings along, and those the settings name for what it lacks.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib as mpl
from fpdf import FPDF, TextStyle
from fpdf.enums import ResourceAccessPolicy
from fpdf.errors import FPDFException

from cloudq_tui.errors import PermanentFailure
from tasks.contacts import peer_words

_STYLES = {"": "DejaVuSans", "B": "DejaVuSans-Bold", "I": "DejaVuSans-Oblique", "BI": "DejaVuSans-BoldOblique"}
_FAMILY = "DejaVu"
_PNG = "data:image/png;base64,"
# Only the body is laid out; what styles or scripts a browser would not be shown as text here.
_NOT_TEXT = re.compile(r"<(head|style|script)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HEADINGS = {"h1": (18, 6), "h2": (13, 5), "h3": (11, 4)}


class _Document(FPDF):
    """A4 with page numbers, that asks between pages whether it is still wanted."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__(format="A4")
        self._check = check
        self.resource_access_policy = ResourceAccessPolicy.NONE

    def footer(self) -> None:
        self._check()
        self.set_y(-12)
        self.set_font(_FAMILY, size=7)
        self.set_text_color(120)
        self.cell(0, 8, f"{self.page_no()} / {{nb}}", align="C")

    def close_fonts(self) -> None:
        """fpdf2 leaves the fonts' files open until they are collected."""
        for font in self.fonts.values():
            with suppress(Exception):
                font.ttfont.close()  # type: ignore[union-attr]


class PdfPrinter:
    """Makes PDF files of HTML. `fonts` are asked for letters that DejaVu Sans lacks."""

    def __init__(self, fonts: Sequence[Path] = ()) -> None:
        self._fonts = tuple(fonts)

    def print(self, html: str, *, title: str, check: Callable[[], None]) -> bytes:
        """Raises PermanentFailure for HTML that cannot be laid out, such as tags inside a table's cell."""
        pdf = _Document(check)
        try:
            self._add_fonts(pdf)
            return self._laid_out(pdf, html, title)
        finally:
            pdf.close_fonts()

    @staticmethod
    def _laid_out(pdf: FPDF, html: str, title: str) -> bytes:
        pdf.set_title(title)
        pdf.set_creator("cloudq-tui")
        pdf.set_auto_page_break(auto=True, margin=16)
        pdf.add_page()
        pdf.set_font(_FAMILY, size=8)
        body = _CONTROLS.sub("", _NOT_TEXT.sub("", html))
        try:
            pdf.write_html(
                body,
                image_map=_own_picture,
                font_family=_FAMILY,
                tag_styles={
                    tag: TextStyle(_FAMILY, "B", size, color=(30, 41, 59), t_margin=space, b_margin=2)
                    for tag, (size, space) in _HEADINGS.items()
                }
                | {"code": TextStyle(_FAMILY), "pre": TextStyle(_FAMILY, t_margin=2)},
                li_prefix_color=(30, 41, 59),
                warn_on_tags_not_matching=False,
            )
            return bytes(pdf.output())
        except (
            FPDFException,
            NotImplementedError,
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
            TypeError,
        ) as error:
            raise PermanentFailure(f"the report cannot be laid out as PDF: {peer_words(str(error))}") from error

    def _add_fonts(self, pdf: FPDF) -> None:
        folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
        for style, name in _STYLES.items():
            pdf.add_font(_FAMILY, style, folder / f"{name}.ttf")
        for index, font in enumerate(self._fonts):
            try:
                pdf.add_font(f"fallback{index}", fname=font)
            except (OSError, FPDFException, ValueError) as error:
                raise PermanentFailure(f"reports.fonts: {font.name}: {peer_words(str(error))}") from None
        if self._fonts:
            pdf.set_fallback_fonts([f"fallback{index}" for index in range(len(self._fonts))], exact_match=False)


def _own_picture(source: str) -> Any:
    """A picture inside the HTML; a PDF fetches nothing, neither files nor addresses."""
    if not source.startswith(_PNG):
        raise PermanentFailure("a PDF shows only the pictures that its report carries")
    try:
        return io.BytesIO(base64.b64decode(source.removeprefix(_PNG), validate=True))
    except binascii.Error:
        raise PermanentFailure("a picture of the report is no base64") from None

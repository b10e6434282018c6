"""The section images."""

from __future__ import annotations

from pydantic import Field

from cloudq_tui.settings import Section
from tasks.settings.common import FolderOrFile, Folders

PILLOWS_OWN_LIMIT = 178_956_970
"""Above this Pillow refuses a picture by itself, whatever we say."""


class ImageSettings(Section):
    roots: Folders = ()
    """Folders in which pictures are read and written; without them image jobs fail and say so."""
    max_pixels: int = Field(default=50_000_000, ge=1, le=PILLOWS_OWN_LIMIT)
    """Most pixels a picture may have, read or made; a worker needs up to 25 bytes for each."""
    max_bytes: int = Field(default=50 * 1024 * 1024, ge=1)
    """Most bytes a picture's file may have."""
    font: FolderOrFile | None = None
    """TrueType font of text watermarks; unless said one with little more than ASCII."""

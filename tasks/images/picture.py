"""Reads a picture from bytes nobody vouches for.

The header is looked at before a pixel is decoded, so that a small file that claims a giant picture costs nothing.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field

from PIL import Image, ImageOps, UnidentifiedImageError

from cloudq_tui.errors import PermanentFailure

_READABLE = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_SIXTEEN_BITS = 256  # from 16 bits a pixel to 8


# Decoders raise whatever a damaged file leads them to. Not Exception: a worker's alarm must come through as itself.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
    BufferError,
    struct.error,
    zlib.error,
    Warning,  # where the process treats warnings as errors
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What travels beside the pixels."""

    exif: bytes = b""
    profile: bytes = b""
    xmp: bytes = b""


@dataclass(slots=True)
class Picture:
    """Pixels as 8-bit L, RGB or RGBA, upright, and what came with them. `format` in lower case."""

    image: Image.Image
    format: str
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(frozen=True, slots=True)
class PixelLimit:
    """How large a picture may be, read or made."""

    max_pixels: int

    def check(self, width: int, height: int, what: str) -> None:
        """Raises PermanentFailure."""
        if width * height > self.max_pixels:
            raise PermanentFailure(
                f"{what} has {width}x{height} pixels, more than images.max_pixels ({self.max_pixels})"
            )


def read_picture(data: bytes, limit: PixelLimit, *, what: str = "the input") -> Picture:
    """Raises PermanentFailure when it is no picture, a damaged one, or too large."""
    try:
        with Image.open(io.BytesIO(data), formats=_available(_READABLE)) as source:
            limit.check(*source.size, what)
            source.load()
            # Several decoders learn the true size only while they decode.
            limit.check(*source.size, what)
            return _upright(source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PermanentFailure(f"{what} has more pixels than images.max_pixels ({limit.max_pixels})") from None
    except UnidentifiedImageError:
        raise PermanentFailure(f"{what} is not a picture of a known format") from None
    except _DAMAGE as error:
        raise PermanentFailure(f"{what} is damaged: {type(error).__name__}") from error


def _available(formats: tuple[str, ...]) -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in formats if name in Image.OPEN)


def _upright(source: Image.Image) -> Picture:
    name = "jpeg" if source.format == "MPO" else str(source.format).lower()
    profile, xmp = source.info.get("icc_profile") or b"", source.info.get("xmp") or b""
    try:
        ImageOps.exif_transpose(source, in_place=True)
        exif = source.getexif().tobytes() if source.getexif() else b""
        xmp = source.info.get("xmp") or b""
    except _DAMAGE:  # a camera's broken notes are no reason to refuse the picture
        exif = b""
    pixels = plain_pixels(source)
    if (pixels.mode == "L" and source.mode != "L") or source.mode in {"CMYK", "YCbCr", "LAB", "HSV"}:
        profile = b""  # it described other channels than these
    pixels.info = {}
    return Picture(pixels, name, Metadata(exif, profile, xmp if isinstance(xmp, bytes) else xmp.encode()))


def plain_pixels(image: Image.Image) -> Image.Image:
    """The same picture as L, RGB or RGBA; a copy even where nothing changes."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("F").point(lambda value: value * (1 / _SIXTEEN_BITS) + 0).convert("L")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in {"L", "1"}:
        return image.convert("L") if image.mode == "1" else image.copy()
    return image.copy() if image.mode == "RGB" else image.convert("RGB")

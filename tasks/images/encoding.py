"""Writes a picture to bytes, also to at most so many of them. The same picture gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Any

from PIL import Image, features

from cloudq_tui.errors import PermanentFailure
from tasks.images.picture import Metadata

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

Check = Callable[[], None]
DEFAULT_QUALITY = {"jpeg": 85, "webp": 80, "avif": 75}
# What Pillow writes and reads again: it writes larger avif too.
_LARGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768, "png": 65_535}
_LARGE = 4_000_000  # pixels
# Bytes of metadata that a format can hold, in Pillow: a JPEG has one segment for each, its XMP after a signature.
_MOST_METADATA = {"jpeg": {"exif": 65_533, "xmp": 65_504}, "png": {"xmp": 0}}
_THOROUGH: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "progressive": True},
    "png": {"optimize": True},
    "webp": {"method": 4},
    "avif": {"speed": 6},
}
_FAST: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True},
    "png": {"compress_level": 4},
    "webp": {"method": 1},
    "avif": {"speed": 9},
}
_BEST_TRY = 95
_SMALLEST_SIDE = 16
_PALETTES = (256, 64, 16)


@dataclass(frozen=True, slots=True)
class Target:
    """How to write. `quality` None: the format's own default."""

    format: str
    quality: int | None = None
    lossless: bool = False
    background: str = "#ffffff"
    metadata: Metadata = field(default_factory=Metadata)


class _Watched(io.BytesIO):
    """Encoders that write in pieces (png, plain jpeg) can be stopped between them."""

    def __init__(self, check: Check) -> None:
        super().__init__()
        self._check = check

    def write(self, data: Buffer, /) -> int:
        self._check()
        return super().write(data)


def encode(image: Image.Image, target: Target, check: Check) -> bytes:
    """Raises PermanentFailure when the format is not to be had, or not for a picture this large, or what `check` does.

    What is large is written faster, if larger: most encoders cannot be interrupted.
    """
    if target.format == "avif" and not features.check("avif"):
        raise PermanentFailure("avif is not in this worker's Pillow")
    largest = _LARGEST_SIDE[target.format]
    if max(image.size) > largest:
        raise PermanentFailure(f"{target.format} holds at most {largest} pixels a side, not {max(image.size)}")
    pace = _FAST if image.width * image.height > _LARGE else _THOROUGH
    options = dict(pace[target.format])
    if target.format != "png":
        options["quality"] = target.quality or DEFAULT_QUALITY[target.format]
    if target.lossless:
        options["lossless"] = True
    options |= _metadata(target)
    written = _Watched(check)
    fit_for(image, target).save(written, target.format.upper(), **options)
    return written.getvalue()


def fit_for(image: Image.Image, target: Target) -> Image.Image:
    """The picture as the format can hold it: jpeg has no transparency."""
    if target.format != "jpeg" or image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, target.background)
    return Image.alpha_composite(ground, image).convert("RGB")


def _metadata(target: Target) -> dict[str, bytes]:
    """What the format can hold of it; the rest is left out."""
    kept, most = target.metadata, _MOST_METADATA.get(target.format, {})
    found = {"exif": kept.exif, "icc_profile": kept.profile, "xmp": kept.xmp}
    return {name: data for name, data in found.items() if 0 < len(data) <= most.get(name, len(data))}


def _hint(target: Target) -> str:
    size = sum(map(len, _metadata(target).values()))
    return f", of which its metadata takes {size}: add strip-metadata" if size else ""


@dataclass(frozen=True, slots=True)
class SizeGoal:
    """At most `max_bytes`; `check` is called before each try, since one may take seconds."""

    max_bytes: int
    min_quality: int
    shrink: bool
    check: Check

    def reach(self, image: Image.Image, target: Target) -> tuple[bytes, Image.Image]:
        """The best file within the limit and the picture in it. Raises PermanentFailure when there is none."""
        data = self._within(image, target)
        while data is None or len(data) > self.max_bytes:
            smaller = self._smaller(image, len(data) if data else 4 * self.max_bytes)
            if smaller is None:
                raise PermanentFailure(f"compress: the picture cannot be had in {self.max_bytes} bytes{_hint(target)}")
            image = smaller
            data = self._within(image, target)
        return data, image

    def _within(self, image: Image.Image, target: Target) -> bytes | None:
        """The best of this size within the limit, else the smallest found."""
        if target.format == "png":
            return self._fewer_colours(image, target)
        if target.lossless:
            self.check()
            return encode(image, target, self.check)
        return self._lower_quality(image, target)

    def _lower_quality(self, image: Image.Image, target: Target) -> bytes:
        """The highest quality that fits, by halving."""
        top = target.quality or _BEST_TRY
        low, high = min(self.min_quality, top), top
        best = smallest = self._try(image, target, low)
        if len(smallest) > self.max_bytes:
            return smallest
        while low < high:
            middle = (low + high + 1) // 2
            data = self._try(image, target, middle)
            if len(data) <= self.max_bytes:
                best, low = data, middle
            else:
                high = middle - 1
        return best

    def _fewer_colours(self, image: Image.Image, target: Target) -> bytes:
        self.check()
        data = encode(image, target, self.check)
        for colours in _PALETTES:
            if len(data) <= self.max_bytes:
                break
            self.check()
            plain = image.convert("RGBA") if image.mode == "RGBA" else image.convert("RGB")
            data = encode(plain.quantize(colours, method=Image.Quantize.FASTOCTREE), target, self.check)
        return data

    def _try(self, image: Image.Image, target: Target, quality: int) -> bytes:
        self.check()
        return encode(image, Target(target.format, quality, False, target.background, target.metadata), self.check)

    def _smaller(self, image: Image.Image, size: int) -> Image.Image | None:
        if not self.shrink or min(image.size) <= _SMALLEST_SIDE:
            return None
        factor = min(0.9, max(0.25, sqrt(self.max_bytes / size) * 0.95))
        width, height = (max(1, round(side * factor)) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)

"""What changes pixels: one function per operation, each checking how large its outcome will be before it is made."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from math import ceil, cos, radians, sin
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from cloudq_tui.errors import PermanentFailure
from tasks.images.picture import PixelLimit
from tasks.payloads.image_processing import Crop, Resize, Rotate, Thumbnail, Watermark

_BEST = Image.Resampling.LANCZOS
_QUARTERS = {
    90: Image.Transpose.ROTATE_270,  # Pillow turns the other way
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
_TRIAL_FONT = 64  # pixels; a text is measured at this size and scaled
_IN_NO_FONT = "\U0010ffff"


class ReadMark(Protocol):
    """Reads the picture of a watermark from a path in the payload."""

    def __call__(self, path: str) -> Image.Image: ...


@dataclass(frozen=True, slots=True)
class Studio:
    """What operations need besides the picture."""

    limit: PixelLimit
    read_mark: ReadMark
    font: Path | None = None

    def apply(self, image: Image.Image, operation: object) -> Image.Image:
        """The picture after one operation; what only concerns the written file changes nothing."""
        match operation:
            case Resize():
                return resize(image, operation, self.limit)
            case Thumbnail():
                return thumbnail(image, operation)
            case Crop():
                return crop(image, operation)
            case Rotate(degrees=float() | int() as degrees):
                return rotate(image, degrees, operation.background, self.limit)
            case Watermark():
                mark = self._mark(image, operation)
                return stamp(image, mark, operation)
            case _:
                return image

    def _mark(self, image: Image.Image, wanted: Watermark) -> Image.Image:
        width = max(1, round(image.width * wanted.scale))
        if wanted.image is None:
            return _written(wanted.text or "", width, image.height, wanted.colour, self.font)
        mark = self.read_mark(wanted.image).convert("RGBA")
        size = _inside(mark.size, width, image.height)
        return mark.resize(size, _BEST)


def resize(image: Image.Image, wanted: Resize, limit: PixelLimit) -> Image.Image:
    if wanted.width is None or wanted.height is None:
        size = _by_one_side(image.size, wanted.width, wanted.height)
    elif wanted.fit == "inside":
        size = _inside(image.size, wanted.width, wanted.height)
    else:
        size = (wanted.width, wanted.height)
    limit.check(*size, "the resized picture")
    if wanted.fit == "cover" and wanted.width and wanted.height:
        return ImageOps.fit(image, size, _BEST)
    return image.resize(size, _BEST)


def thumbnail(image: Image.Image, wanted: Thumbnail) -> Image.Image:
    width, height = wanted.width, wanted.height or wanted.width
    if image.width <= width and image.height <= height:
        return image
    return image.resize(_inside(image.size, width, height), _BEST, reducing_gap=2.0)


def crop(image: Image.Image, wanted: Crop) -> Image.Image:
    left = (image.width - wanted.width) // 2 if wanted.left is None else wanted.left
    top = (image.height - wanted.height) // 2 if wanted.top is None else wanted.top
    right, bottom = left + wanted.width, top + wanted.height
    if left < 0 or top < 0 or right > image.width or bottom > image.height:
        raise PermanentFailure(
            f"crop: {wanted.width}x{wanted.height} at {left},{top} is not inside {image.width}x{image.height}"
        )
    return image.crop((left, top, right, bottom))


def rotate(image: Image.Image, degrees: float, background: str | None, limit: PixelLimit) -> Image.Image:
    """Clockwise. Quarters move pixels without touching them."""
    turn = degrees % 360
    if turn == 0:
        return image
    if turn in _QUARTERS:
        return image.transpose(_QUARTERS[int(turn)])
    across, down = abs(cos(radians(turn))), abs(sin(radians(turn)))
    width, height = image.width * across + image.height * down, image.width * down + image.height * across
    limit.check(ceil(width), ceil(height), "the rotated picture")
    fill = (0, 0, 0, 0) if background is None else (*ImageColor.getrgb(background)[:3], 255)
    return image.convert("RGBA").rotate(-turn, Image.Resampling.BICUBIC, expand=True, fillcolor=fill)


def stamp(image: Image.Image, mark: Image.Image, wanted: Watermark) -> Image.Image:
    """Lay `mark` over the picture."""
    faint = mark.getchannel("A").point(lambda value: round(value * wanted.opacity))
    mark.putalpha(faint)
    left, top = _place(image.size, mark.size, wanted)
    # Only the part below the mark: a layer of the whole picture would need three more of it in memory.
    below = image.crop((left, top, left + mark.width, top + mark.height)).convert("RGBA")
    below.alpha_composite(mark)
    stamped = image.convert("RGB") if image.mode == "L" else image.copy()
    stamped.paste(below if stamped.mode == "RGBA" else below.convert(stamped.mode), (left, top))
    return stamped


def _place(picture: tuple[int, int], mark: tuple[int, int], wanted: Watermark) -> tuple[int, int]:
    def along(total: int, own: int, first: str, last: str) -> int:
        room = total - own
        if first in wanted.position:
            return min(wanted.margin, max(0, room))
        if last in wanted.position:
            return max(0, room - wanted.margin)
        return room // 2

    return along(picture[0], mark[0], "left", "right"), along(picture[1], mark[1], "top", "bottom")


def _written(text: str, width: int, height: int, colour: str, font: Path | None) -> Image.Image:
    """The text as a picture at most so large."""
    trial = _font(font, _TRIAL_FONT)
    _check_letters(text, trial)
    box = _measured(text, trial)
    factor = min(width / max(1, box[2] - box[0]), height / max(1, box[3] - box[1]))
    chosen = _font(font, max(4, min(int(_TRIAL_FONT * factor), height)))
    left, top, right, bottom = _measured(text, chosen)
    mark = Image.new("RGBA", (max(1, min(width, right - left)), max(1, min(height, bottom - top))))
    ImageDraw.Draw(mark).multiline_text((-left, -top), text, font=chosen, fill=colour)
    return mark


def _check_letters(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    """Raises PermanentFailure for a letter that the font would show as the box it has for all that it lacks."""
    box = bytes(font.getmask(_IN_NO_FONT))
    shown = (one for one in text if unicodedata.category(one)[0] in "LNPS")
    lacking = next((one for one in shown if bytes(font.getmask(one)) == box), None)
    if lacking is not None:
        raise PermanentFailure(f"watermark: the font has no {lacking!r}; images.font names another")


def _measured(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int, int, int]:
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font)
    return int(left), int(top), ceil(right), ceil(bottom)


def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)
    except OSError:
        raise PermanentFailure("images.font cannot be read as a font") from None


def _inside(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    factor = min(width / size[0], height / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _by_one_side(size: tuple[int, int], width: int | None, height: int | None) -> tuple[int, int]:
    factor = (width / size[0]) if width is not None else ((height or 1) / size[1])
    return width or max(1, round(size[0] * factor)), height or max(1, round(size[1] * factor))

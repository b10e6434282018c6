"""The payload of the queue image-processing."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from tasks.payloads.base import Payload, Text, plain_list
from tasks.payloads.paths import AbsolutePath, PathText

Format = Literal["jpeg", "png", "webp", "avif"]
SUFFIXES: dict[str, Format] = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".avif": "avif"}

Side = Annotated[int, Field(ge=1, le=65_535)]
Offset = Annotated[int, Field(ge=0, le=65_535)]
Quality = Annotated[int, Field(ge=1, le=100)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Position = Literal["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"]


class Resize(Payload):
    """To another size."""

    type: Literal["resize"]
    """Which operation this is."""
    width: Side | None = None
    """Pixels; without it the height and the picture's ratio decide."""
    height: Side | None = None
    """Pixels; without it the width and the picture's ratio decide."""
    fit: Literal["inside", "cover", "stretch"] = "inside"
    """With both sides given: inside keeps the ratio within them, cover fills them and cuts, stretch distorts."""

    @model_validator(mode="after")
    def _a_side(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("needs a width, a height or both")
        return self


class Thumbnail(Payload):
    """Smaller, keeping the ratio; a smaller picture stays as it is."""

    type: Literal["thumbnail"]
    """Which operation this is."""
    width: Side = 256
    """Most pixels across."""
    height: Side | None = None
    """Most pixels down; as many as across unless said."""


class Crop(Payload):
    """A part of the picture, which must lie inside it."""

    type: Literal["crop"]
    """Which operation this is."""
    width: Side
    """Pixels."""
    height: Side
    """Pixels."""
    left: Offset | None = None
    """Pixels from the left edge; centred unless said."""
    top: Offset | None = None
    """Pixels from the top edge; centred unless said."""


class Rotate(Payload):
    """Turned clockwise, or as the camera noted. The camera's note is always followed when a picture is read."""

    type: Literal["rotate"]
    """Which operation this is."""
    degrees: Annotated[float, Field(ge=-360, le=360)] | None = None
    """Clockwise; the picture grows to hold its corners."""
    exif: bool = False
    """As the EXIF orientation says."""
    background: Colour | None = None
    """Colour of the new corners; transparent unless said, and white where the format knows no transparency."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.degrees is None) != self.exif:
            raise ValueError("needs exactly one of degrees and exif")
        return self


class Convert(Payload):
    """The format of the written file, wherever in the list it stands."""

    type: Literal["convert"]
    """Which operation this is."""
    format: Format
    """jpeg, png, webp, or avif where the worker's library has it."""
    quality: Quality | None = None
    """1 to 100; the format's own default unless said. Not for png."""
    lossless: bool = False
    """Keep every pixel: webp only, since png does so anyway."""
    background: Colour = "#ffffff"
    """What shows through where jpeg knows no transparency."""

    @model_validator(mode="after")
    def _can_be_lossless(self) -> Self:
        if self.lossless and self.format != "webp":
            raise ValueError("lossless goes with webp only")
        return self


class Compress(Payload):
    """At most so many bytes: first by quality (png: by colours), then by size. Wherever in the list it stands."""

    type: Literal["compress"]
    """Which operation this is."""
    max_bytes: Annotated[int, Field(ge=64)]
    """Most bytes of the written file."""
    min_quality: Quality = 20
    """The quality is not taken below this."""
    shrink: bool = True
    """Make the picture smaller when quality alone is not enough; false: the job fails then."""


class Watermark(Payload):
    """A text or another picture on top."""

    type: Literal["watermark"]
    """Which operation this is."""
    text: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    """What to write; letters beyond ASCII need `images.font` in the worker's settings."""
    image: AbsolutePath | None = None
    """A picture inside one of `images.roots` of the worker."""
    position: Position = "bottom-right"
    """Where."""
    opacity: Annotated[float, Field(gt=0, le=1)] = 0.5
    """1 hides what is below."""
    scale: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Its width as a share of the picture's."""
    margin: Offset = 16
    """Pixels to the edges."""
    colour: Colour = "#ffffff"
    """Of the text."""

    @model_validator(mode="after")
    def _one_mark(self) -> Self:
        if (self.text is None) == (self.image is None):
            raise ValueError("needs exactly one of text and image")
        return self


class StripMetadata(Payload):
    """Nothing but the picture: no EXIF, place, camera, comment or XMP. Wherever in the list it stands."""

    type: Literal["strip-metadata"]
    """Which operation this is."""
    keep_profile: bool = True
    """Keep the colour profile, without which colours may look different."""


Operation = Annotated[
    Resize | Thumbnail | Crop | Rotate | Convert | Compress | Watermark | StripMetadata, Discriminator("type")
]


class ProcessImage(Payload):
    """A picture is read, taken through the operations in their order, and written. Of an animation: its first frame."""

    input: AbsolutePath
    """A file inside one of `images.roots` of the worker: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF."""
    operations: Annotated[list[Operation], Field(min_length=1, max_length=20), BeforeValidator(plain_list)]
    """What to do, in order."""
    output: PathText | None = None
    """Where to write, inside the roots, ending in the format's suffix; a bare name lies next to the input.
    Without it the name is made from the input's and the operations. A file that is there is replaced."""

    @property
    def conversion(self) -> Convert | None:
        return next((one for one in self.operations if isinstance(one, Convert)), None)

    @property
    def compression(self) -> Compress | None:
        return next((one for one in self.operations if isinstance(one, Compress)), None)

    @property
    def stripping(self) -> StripMetadata | None:
        return next((one for one in self.operations if isinstance(one, StripMetadata)), None)

    @property
    def output_format(self) -> Format | None:
        """The format that `convert` or the output's suffix asks for."""
        if self.conversion is not None:
            return self.conversion.format
        return None if self.output is None else SUFFIXES[PurePosixPath(self.output).suffix.lower()]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for kind in (Convert, Compress, StripMetadata):
            if sum(isinstance(one, kind) for one in self.operations) > 1:
                raise ValueError(f"operations: at most one {kind.__name__.lower()}")
        if self.output is None:
            return self
        suffix = PurePosixPath(self.output).suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"output must end in one of {', '.join(SUFFIXES)}")
        if self.conversion is not None and self.conversion.format != SUFFIXES[suffix]:
            raise ValueError(f"output ends in {suffix} but is converted to {self.conversion.format}")
        if "/" in self.output and not self.output.startswith("/"):
            raise ValueError("output must be an absolute path or a bare name")
        return self

"""The queue image-processing: process-image.

Steps: read 10, each operation up to 80, encode 80, write 90, done 100. The written file depends on nothing but the
input and the payload and takes its name in one step, so that a second run does no harm.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from cloudq_tui.errors import JobSignal, PermanentFailure
from cloudq_tui.models.context import JobContext
from tasks.clients.rooted_files import RootedFiles, told
from tasks.images.encoding import SizeGoal, Target, encode
from tasks.images.operations import Studio
from tasks.images.picture import Metadata, Picture, PixelLimit, read_picture
from tasks.payloads import dump_payload
from tasks.payloads.image_processing import ProcessImage

_SUFFIX = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "avif": ".avif"}
_LONGEST_STEM = 200  # bytes; a name has room for 255


@dataclass(frozen=True, slots=True)
class ImageRules:
    """What the settings say of pictures."""

    max_pixels: int
    max_bytes: int
    font: Path | None = None


def process_image(payload: ProcessImage, job: JobContext, *, files: RootedFiles, rules: ImageRules) -> dict[str, Any]:
    """Read, work, write; the result says where, in which format and how large."""
    job.update_progress(10, "read")
    limit = PixelLimit(rules.max_pixels)
    source = files.resolve(payload.input)
    data, identity = _read(files, source, rules)
    picture = read_picture(data, limit)
    del data
    name = payload.output_format or (picture.format if picture.format in _SUFFIX else "png")
    output = _output(payload, files, source, name)
    with told("the output cannot be written"), suppress(FileNotFoundError):
        if os.path.samestat(output.stat(), identity):
            raise PermanentFailure("output is the input: a second run would work on its own outcome")

    def read_mark(path: str) -> Image.Image:
        mark, _ = _read(files, files.resolve(path), rules)
        return read_picture(mark, limit, what="the watermark").image

    kept = _work(payload, job, picture, Studio(limit, read_mark, rules.font))
    job.update_progress(80, "encode")
    written, image = _encode(payload, job, picture.image, kept, name)
    job.update_progress(90, "write")
    _write(files, output, written, job)
    # The file is there: a cancellation or timeout that arrives now can no longer undo it.
    with suppress(JobSignal):
        job.update_progress(100, "done")
    return {
        "path": str(output),
        "format": name,
        "size": len(written),
        "width": image.width,
        "height": image.height,
    }


def _read(files: RootedFiles, path: Path, rules: ImageRules) -> tuple[bytes, os.stat_result]:
    with told("a picture cannot be read"), files.folder(path.parent) as folder, folder.open(path.name) as file:
        found = os.fstat(file.fileno())
        data = b"" if found.st_size > rules.max_bytes else file.read(rules.max_bytes + 1)
    if found.st_size > rules.max_bytes or len(data) > rules.max_bytes:
        raise PermanentFailure(f"a picture has more bytes than images.max_bytes ({rules.max_bytes})")
    return data, found


def _output(payload: ProcessImage, files: RootedFiles, source: Path, name: str) -> Path:
    """Where the outcome goes: as told, else beside the input under a name made from it and the operations."""
    if payload.output is not None:
        return files.resolve(str(source.parent / payload.output))
    recipe = json.dumps(dump_payload(payload)["operations"], sort_keys=True).encode()
    stem = source.stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    digest = hashlib.sha256(recipe).hexdigest()[:8]
    return files.resolve(str(source.parent / f"{stem}-{digest}{_SUFFIX[name]}"))


def _work(payload: ProcessImage, job: JobContext, picture: Picture, studio: Studio) -> Metadata:
    """Take the picture through its operations, each freeing what the one before made; what is written beside it."""
    before = picture.image.mode
    for number, operation in enumerate(payload.operations):
        job.update_progress(10 + 70 * number / len(payload.operations), operation.type)
        try:
            picture.image = studio.apply(picture.image, operation)
        except (ValueError, MemoryError) as error:
            raise PermanentFailure(f"{operation.type}: {type(error).__name__}") from error
    kept, after, stripping = picture.metadata, picture.image.mode, payload.stripping
    if before != after and "L" in {before, after}:
        kept = Metadata(kept.exif, b"", kept.xmp)  # a profile of grey does not fit colours
    if stripping is not None:
        kept = Metadata(profile=kept.profile if stripping.keep_profile else b"")
    return kept


def _encode(
    payload: ProcessImage, job: JobContext, image: Image.Image, metadata: Metadata, name: str
) -> tuple[bytes, Image.Image]:
    conversion, goal = payload.conversion, payload.compression
    target = Target(name, metadata=metadata)
    if conversion is not None:
        target = Target(name, conversion.quality, conversion.lossless, conversion.background, metadata)
    try:
        if goal is None:
            return encode(image, target, job.check), image
        return SizeGoal(goal.max_bytes, goal.min_quality, goal.shrink, job.check).reach(image, target)
    except (OSError, ValueError) as error:
        raise PermanentFailure(f"the picture cannot be written as {name}: {type(error).__name__}") from error


def _write(files: RootedFiles, output: Path, data: bytes, job: JobContext) -> None:
    with told("the output cannot be written"), files.folder(output.parent) as folder:
        folder.sweep()
        there = folder.entry(output.name)
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise OSError(errno.EEXIST, "something that is no plain file is in its place")
        with folder.new() as new:
            new.file.write(data)
            job.check()
            new.replace(output.name)

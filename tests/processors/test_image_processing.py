"""process-image on real files: what is written, what a second run does, and what is refused."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image, ImageDraw, ImageOps, ImageStat, features

from cloudq_tui.errors import Cancelled, InvalidPayload, LeaseLost, PermanentFailure
from tasks.clients.rooted_files import RootedFiles
from tasks.payloads import parse_payload
from tasks.payloads.image_processing import ProcessImage
from tasks.processors.image_processing import ImageRules, process_image

ORIENTATION, MAKER = 0x0112, 0x010F
RULES = ImageRules(max_pixels=4_000_000, max_bytes=4_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def run(root: Path, job: Any) -> Callable[..., dict[str, Any]]:
    def process(
        path: Path | str, *operations: dict[str, Any], output: str | None = None, rules: ImageRules = RULES
    ) -> dict[str, Any]:
        data = {"input": str(path), "operations": list(operations)} | ({"output": output} if output else {})
        payload = parse_payload(ProcessImage, data)
        return process_image(payload, job, files=RootedFiles([root], setting="images.roots"), rules=rules)

    return process


def photo(path: Path, size: tuple[int, int] = (120, 80), mode: str = "RGB", **options: Any) -> Path:
    """Red left half, blue right half, a little noise so that it does not compress to nothing."""
    image = Image.new("RGB", size, "red")
    ImageDraw.Draw(image).rectangle((size[0] // 2, 0, *size), fill="blue")
    noise = Image.frombytes("L", size, os.urandom(size[0] * size[1]))
    image = Image.blend(image, noise.convert("RGB"), 0.1)
    image.convert(mode).save(path, **options)
    return path


def opened(result: dict[str, Any]) -> Image.Image:
    with Image.open(result["path"]) as image:
        image.load()
    assert (image.width, image.height) == (result["width"], result["height"])
    assert Path(result["path"]).stat().st_size == result["size"]
    assert str(image.format).lower() == result["format"]
    return image


def colour(image: Image.Image, x: int, y: int) -> str:
    red, _, blue = ImageStat.Stat(image.convert("RGB").crop((x, y, x + 2, y + 2))).mean
    return "red" if red > blue else "blue"


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_the_first_thumbnail(run: Any, root: Path, job: Any) -> None:
    source = photo(root / "a.jpg")
    result = run(source, {"type": "thumbnail", "width": 60}, output="small.webp")
    assert result == {
        "path": str(root / "small.webp"),
        "format": "webp",
        "size": result["size"],
        "width": 60,
        "height": 40,
    }
    opened(result)
    assert job.progress == [(10, "read"), (10, "thumbnail"), (80, "encode"), (90, "write"), (100, "done")]
    assert sorted(path.name for path in root.iterdir()) == ["a.jpg", "small.webp"]


@pytest.mark.parametrize(
    ("operation", "size"),
    [
        ({"type": "resize", "width": 240}, (240, 160)),
        ({"type": "resize", "height": 20}, (30, 20)),
        ({"type": "resize", "width": 60, "height": 60}, (60, 40)),
        ({"type": "resize", "width": 60, "height": 60, "fit": "cover"}, (60, 60)),
        ({"type": "resize", "width": 60, "height": 60, "fit": "stretch"}, (60, 60)),
        ({"type": "thumbnail", "width": 500}, (120, 80)),
        ({"type": "thumbnail", "width": 500, "height": 10}, (15, 10)),
        ({"type": "crop", "width": 50, "height": 40}, (50, 40)),
        ({"type": "crop", "width": 50, "height": 40, "left": 70, "top": 40}, (50, 40)),
        ({"type": "rotate", "degrees": 90}, (80, 120)),
        ({"type": "rotate", "degrees": -180.0}, (120, 80)),
        ({"type": "rotate", "degrees": 45}, (142, 142)),
        ({"type": "rotate", "exif": True}, (120, 80)),
    ],
)
def test_sizes(operation: dict[str, Any], size: tuple[int, int], run: Any, root: Path) -> None:
    assert opened(run(photo(root / "a.png"), operation)).size == size


def test_clockwise_is_clockwise(run: Any, root: Path) -> None:
    image = opened(run(photo(root / "a.png"), {"type": "rotate", "degrees": 90}))
    assert [colour(image, 40, 5), colour(image, 40, 110)] == ["red", "blue"]


def test_crop_takes_the_part_asked_for(run: Any, root: Path) -> None:
    source = photo(root / "a.png")
    right = opened(run(source, {"type": "crop", "width": 20, "height": 20, "left": 100, "top": 0}))
    assert colour(right, 10, 10) == "blue"
    with pytest.raises(PermanentFailure, match="crop: 50x50 at 100,0 is not inside 120x80"):
        run(source, {"type": "crop", "width": 50, "height": 50, "left": 100, "top": 0})
    with pytest.raises(PermanentFailure, match="is not inside"):
        run(source, {"type": "crop", "width": 500, "height": 50})


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_cameras_note_is_followed_once(orientation: int, run: Any, root: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = orientation, "Acme"
    source = photo(root / "a.jpg", exif=exif)
    image = opened(run(source, {"type": "rotate", "exif": True}))
    assert image.size == ((120, 80) if orientation == 3 else (80, 120))
    first = colour(image, 5, 5)
    assert first == {3: "blue", 6: "red", 8: "blue"}[orientation]
    assert image.getexif().get(ORIENTATION, 1) == 1
    assert image.getexif()[MAKER] == "Acme"


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "LA"])
def test_every_kind_of_pixels_to_every_format(name: str, mode: str, run: Any, root: Path) -> None:
    if name == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    source = root / ("a.tif" if mode in {"CMYK", "LA"} else "a.png")
    if mode == "I;16":
        Image.frombytes("I;16", (2, 1), struct.pack("<HH", 0, 40_000)).resize((120, 80), Image.Resampling.NEAREST).save(
            source
        )
    else:
        photo(source, mode=mode)
    result = run(source, {"type": "convert", "format": name})
    image = opened(result)
    assert result["path"].endswith(".jpg" if name == "jpeg" else f".{name}")
    if mode == "I;16":
        assert 150 < image.convert("L").getpixel((110, 40)) < 162  # type: ignore[operator]


def test_transparency_gets_a_ground_only_where_it_must(run: Any, root: Path) -> None:
    Image.new("RGBA", (40, 40)).save(root / "clear.png")
    assert opened(run(root / "clear.png", {"type": "convert", "format": "webp"})).mode == "RGBA"
    jpeg = opened(run(root / "clear.png", {"type": "convert", "format": "jpeg", "background": "#0000ff"}))
    assert colour(jpeg, 10, 10) == "blue"


def test_lossless_keeps_every_pixel(run: Any, root: Path) -> None:
    source = photo(root / "a.png")
    image = opened(run(source, {"type": "convert", "format": "webp", "lossless": True}))
    with Image.open(source) as original:
        assert image.convert("RGB").tobytes() == original.convert("RGB").tobytes()


def test_a_slow_encoder_can_be_stopped_between_its_pieces(run: Any, root: Path, job: Any) -> None:
    source = photo(root / "a.png", (600, 500))
    show = job.update_progress

    def cancel(percent: float, step: str = "") -> None:
        show(percent, step)
        job.cancelled = step == "encode"

    job.update_progress = cancel
    with pytest.raises(Cancelled):
        run(source, {"type": "convert", "format": "png"})
    assert (80, "encode") in job.progress
    assert [path.name for path in root.iterdir()] == ["a.png"]


def test_an_animation_keeps_its_first_frame(run: Any, root: Path) -> None:
    frames = [Image.new("RGB", (30, 30), name) for name in ("red", "blue")]
    frames[0].save(root / "a.gif", save_all=True, append_images=frames[1:])
    image = opened(run(root / "a.gif", {"type": "thumbnail", "width": 10}))
    assert (image.format, colour(image, 4, 4)) == ("PNG", "red")


@pytest.mark.parametrize("name", ["jpeg", "webp", "png", "avif"])
def test_compress_to_a_size(name: str, run: Any, root: Path) -> None:
    if name == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    source = photo(root / "a.png", (400, 300))
    for goal in (20_000, 3_000):
        operations = [{"type": "convert", "format": name}, {"type": "compress", "maxBytes": goal}]
        result = run(source, *operations)
        opened(result)
        assert goal / 8 < result["size"] <= goal


def test_compress_may_not_shrink_when_told_so(run: Any, root: Path) -> None:
    source = photo(root / "a.png", (400, 300))
    with pytest.raises(PermanentFailure, match="cannot be had in 1000 bytes"):
        run(source, {"type": "compress", "maxBytes": 1000, "shrink": False}, output="b.jpg")
    with pytest.raises(PermanentFailure, match="cannot be had in 64 bytes"):
        run(source, {"type": "compress", "maxBytes": 64}, output="b.jpg")
    assert [path.name for path in root.iterdir()] == ["a.png"]


@pytest.mark.parametrize("mark", ["text", "image"])
@pytest.mark.parametrize(
    ("position", "where"), [("top-left", (30, 25)), ("center", (200, 150)), ("bottom-right", (370, 280))]
)
def test_watermark(mark: str, position: str, where: tuple[int, int], run: Any, root: Path) -> None:
    Image.new("RGB", (400, 300), "black").save(root / "black.png")
    Image.new("RGB", (50, 20), "white").save(root / "logo.png")
    given = {"text": "© Acme"} if mark == "text" else {"image": str(root / "logo.png")}
    image = opened(run(root / "black.png", {"type": "watermark", "position": position, "opacity": 0.8, **given}))
    near = image.crop((where[0] - 20, where[1] - 12, where[0] + 20, where[1] + 12)).convert("L")
    assert 60 < near.getextrema()[1] <= 205  # type: ignore[operator]
    box = image.convert("L").getbbox()
    assert box is not None
    assert abs((box[2] - box[0]) - 100) < 15


def test_a_blank_or_endless_watermark_does_no_harm(run: Any, root: Path) -> None:
    source = photo(root / "a.png")
    for text in (" ", ".", "\n" * 150, "W" * 200):
        opened(run(source, {"type": "watermark", "text": text, "scale": 1.0}))


def test_a_letter_that_the_font_lacks_is_not_written_as_a_box(run: Any, root: Path) -> None:
    source = photo(root / "a.png")
    rules = replace(RULES, font=Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    opened(run(source, {"type": "watermark", "text": "(c) Acme, 2026"}))
    opened(run(source, {"type": "watermark", "text": "Grüße für 5 €, e\u0301te\u0301"}, rules=rules))
    for text, lacks, chosen in (("Grüße", "ü", RULES), ("5 €", "€", RULES), ("Acme 云手机", "云", rules)):
        with pytest.raises(PermanentFailure, match=f"the font has no '{lacks}'; images.font names another"):
            run(source, {"type": "watermark", "text": text}, rules=chosen)


@pytest.mark.parametrize(("name", "most"), [("jpeg", 65_500), ("webp", 16_383), ("avif", 32_768)])
def test_the_longest_side_can_be_read_again(name: str, most: int, run: Any, root: Path) -> None:
    source, convert = photo(root / "a.png"), {"type": "convert", "format": name}
    line = {"type": "resize", "width": most, "height": 1, "fit": "stretch"}
    assert opened(run(source, line, convert)).size == (most, 1)
    with pytest.raises(PermanentFailure, match=f"{name} holds at most {most} pixels a side"):
        run(source, line | {"width": most + 1}, convert)


def test_strip_metadata(run: Any, root: Path) -> None:
    exif = Image.Exif()
    exif[MAKER] = "Acme"
    source = photo(root / "a.jpg", exif=exif, comment="secret place", xmp=b"<x:xmpmeta>secret</x:xmpmeta>")
    kept = run(source, {"type": "thumbnail"})
    assert b"Acme" in Path(kept["path"]).read_bytes()
    for name in ("jpeg", "png", "webp"):
        bare = run(source, {"type": "strip-metadata"}, {"type": "convert", "format": name})
        data = Path(bare["path"]).read_bytes()
        assert b"Acme" not in data
        assert b"secret" not in data
        assert not opened(bare).getexif()


def test_metadata_too_large_for_the_format_stays_behind(run: Any, root: Path) -> None:
    exif = Image.Exif()
    exif[MAKER] = "Acme" * 20_000
    source = photo(root / "a.webp", exif=exif, xmp=b"<x>" + b"secret" * 20_000 + b"</x>")
    kept = run(source, {"type": "convert", "format": "avif"})
    assert (len(opened(kept).getexif()[MAKER]), len(opened(kept).info["xmp"])) == (80_000, 120_007)
    image = opened(run(source, {"type": "convert", "format": "jpeg"}))
    assert (image.format, dict(image.getexif()), "xmp" in image.info) == ("JPEG", {}, False)
    with pytest.raises(
        PermanentFailure, match=r"in 9000 bytes, of which its metadata takes 200\d+: add strip-metadata"
    ):
        run(source, {"type": "compress", "maxBytes": 9000})


def test_the_same_job_twice_is_the_same_file(run: Any, root: Path) -> None:
    source = photo(root / "a.jpg")
    operations = [{"type": "rotate", "degrees": 30}, {"type": "convert", "format": "webp"}]
    first = run(source, *operations)
    before = Path(first["path"]).read_bytes()
    assert run(source, *operations) == first
    assert Path(first["path"]).read_bytes() == before
    other = run(source, {"type": "rotate", "degrees": 31}, {"type": "convert", "format": "webp"})
    assert other["path"] != first["path"]


def test_a_run_that_dies_leaves_nothing_half_written(run: Any, root: Path, job: Any) -> None:
    source = photo(root / "a.jpg")
    job.cancelled = True
    with pytest.raises(Cancelled):
        run(source, {"type": "thumbnail"}, output="b.jpg")
    job.cancelled = False
    checks = iter([None] * 4)

    def check() -> None:
        if next(checks, "dead") == "dead":
            raise LeaseLost("killed here")

    job.check = check
    with pytest.raises(LeaseLost):
        run(source, {"type": "thumbnail"}, output="b.jpg")
    assert [path.name for path in root.iterdir()] == ["a.jpg"]


def test_what_a_killed_writer_left_is_removed(run: Any, root: Path) -> None:
    (root / ".cloudq-0123456789abcdef.partial").write_bytes(b"half")
    run(photo(root / "a.jpg"), {"type": "thumbnail"}, output="b.jpg")
    assert sorted(path.name for path in root.iterdir()) == ["a.jpg", "b.jpg"]


# --- hostile input ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [2_001, 10_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int, run: Any, root: Path) -> None:
    (root / "bomb.png").write_bytes(png_that_claims(side, side))
    with pytest.raises(PermanentFailure, match=r"images\.max_pixels"):
        run(root / "bomb.png", {"type": "thumbnail"})


@pytest.mark.parametrize(
    "operation",
    [{"type": "resize", "width": 60_000}, {"type": "resize", "width": 3000, "height": 3000, "fit": "cover"}],
)
def test_no_operation_makes_a_giant(operation: dict[str, Any], run: Any, root: Path) -> None:
    with pytest.raises(PermanentFailure, match=r"the resized picture has .* images\.max_pixels"):
        run(photo(root / "a.png"), operation)


def test_too_many_bytes(run: Any, root: Path) -> None:
    rules = ImageRules(max_pixels=10**6, max_bytes=100)
    with pytest.raises(PermanentFailure, match=r"images\.max_bytes \(100\)"):
        run(photo(root / "a.png"), {"type": "thumbnail"}, rules=rules)


@pytest.mark.parametrize("kind", ["text", "svg", "eps", "empty", "cut", "flipped"])
def test_what_is_no_picture_fails_for_good(kind: str, run: Any, root: Path) -> None:
    whole = photo(root / "whole.jpg").read_bytes()
    flipped = bytearray(whole)
    flipped[20:60] = bytes(40)
    content = {
        "text": b"hello",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "empty": b"",
        "cut": whole[: len(whole) // 3],
        "flipped": bytes(flipped),
    }[kind]
    (root / "x.jpg").write_bytes(content)
    with pytest.raises(PermanentFailure, match="the input is"):
        run(root / "x.jpg", {"type": "thumbnail"}, output="out.png")
    assert not (root / "out.png").exists()


def test_a_flipped_bit_anywhere_ends_in_words_or_a_picture(run: Any, root: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 6, "Acme"
    for name in ("a.jpg", "a.png", "a.webp", "a.gif", "a.tif", "a.bmp"):
        whole = photo(
            root / name, (24, 16), **({"exif": exif} if name in {"a.jpg", "a.tif", "a.webp"} else {})
        ).read_bytes()
        for place in range(0, min(len(whole), 400), 7):
            spoilt = bytearray(whole)
            spoilt[place] ^= 0xFF
            (root / "spoilt").write_bytes(spoilt)
            with contextlib.suppress(PermanentFailure):
                run(root / "spoilt", {"type": "thumbnail", "width": 8}, output="out.png")


def test_an_alarm_inside_a_decoder_comes_out_as_itself(run: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Alarm(Exception):
        pass

    def strike(*_: Any, **__: Any) -> None:
        raise Alarm

    source = photo(root / "a.png")
    monkeypatch.setattr(ImageOps, "exif_transpose", strike)
    with pytest.raises(Alarm):
        run(source, {"type": "thumbnail"})


def test_paths_stay_inside_the_roots(run: Any, root: Path, tmp_path: Path) -> None:
    outside = photo(tmp_path / "outside.png")
    inside = photo(root / "in.png")
    (root / "link.png").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    thumb = {"type": "thumbnail"}
    for path in (outside, root / "link.png", root / "folder/outside.png"):
        with pytest.raises(PermanentFailure, match=r"outside images\.roots"):
            run(path, thumb)
        with pytest.raises(PermanentFailure, match=r"outside images\.roots"):
            run(inside, {"type": "watermark", "image": str(path)})
    for output in (str(tmp_path / "o.png"), "link.png", str(root / "folder/o.png")):
        with pytest.raises(PermanentFailure, match=r"outside images\.roots"):
            run(inside, thumb, output=output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.png", "pictures"]


@pytest.mark.parametrize("name", ["fifo.png", "folder.png", "missing.png"])
def test_only_plain_files(name: str, run: Any, root: Path) -> None:
    os.mkfifo(root / "fifo.png")
    (root / "folder.png").mkdir()
    with pytest.raises(PermanentFailure, match="a picture cannot be read"):
        run(root / name, {"type": "thumbnail"})
    if name != "missing.png":
        with pytest.raises(PermanentFailure, match="the output cannot be written"):
            run(photo(root / "a.png"), {"type": "thumbnail"}, output=name)


def test_a_name_too_long_for_the_disk_fails_in_words(run: Any, root: Path) -> None:
    with pytest.raises(PermanentFailure, match="the output cannot be written: File name too long"):
        run(photo(root / "a.png"), {"type": "thumbnail"}, output=f"{'x' * 300}.png")


def test_the_input_is_never_the_output(run: Any, root: Path) -> None:
    source = photo(root / "a.png")
    os.link(source, root / "same.png")
    for output in ("a.png", "same.png"):
        with pytest.raises(PermanentFailure, match="output is the input"):
            run(source, {"type": "rotate", "degrees": 90}, output=output)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input": "a.png"}, "absolute"),
        ({"input": "/a/../b.png"}, r"'\.\.'"),
        ({"input": "/a\0.png"}, "control characters"),
        ({"operations": []}, "at least 1"),
        ({"operations": [{"type": "explode"}]}, "explode"),
        ({"operations": [{"type": "resize"}]}, "needs a width"),
        ({"operations": [{"type": "resize", "width": 10, "depth": 3}]}, "is not a field"),
        ({"operations": [{"type": "rotate", "degrees": 90, "exif": True}]}, "exactly one"),
        ({"operations": [{"type": "watermark"}]}, "exactly one"),
        ({"operations": [{"type": "convert", "format": "exe"}]}, "'jpeg', 'png', 'webp' or 'avif'"),
        ({"operations": [{"type": "compress", "maxBytes": 900}] * 2}, "at most one compress"),
        ({"operations": [{"type": "convert", "format": "avif", "lossless": True}]}, "webp only"),
        ({"output": "b.txt"}, "must end in one of"),
        ({"output": "../b.png"}, r"'\.\.'"),
        ({"output": "sub/b.png"}, "bare name"),
        ({"output": "b.png", "operations": [{"type": "convert", "format": "webp"}]}, "converted to webp"),
    ],
)
def test_a_wrong_payload_is_refused_when_enqueued(change: dict[str, Any], reason: str) -> None:
    data = {"input": "/p/a.png", "operations": [{"type": "thumbnail"}]} | change
    with pytest.raises(InvalidPayload, match=reason):
        parse_payload(ProcessImage, data, job="process-image")


def test_memory_stays_within_bounds_for_a_large_photo(run: Any, root: Path) -> None:
    """A photo as phones take it (12 megapixels) through a usual list."""
    image = Image.effect_noise((4000, 3000), 40).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    (root / "large.jpg").write_bytes(buffer.getvalue())
    result = run(
        root / "large.jpg",
        {"type": "resize", "width": 1600},
        {"type": "watermark", "text": "Acme"},
        {"type": "compress", "maxBytes": 200_000},
        output="web.jpg",
        rules=ImageRules(max_pixels=50_000_000, max_bytes=50_000_000),
    )
    assert result["size"] <= 200_000


def test_a_producer_loads_neither_pillow_nor_zstandard() -> None:
    code = "import sys; import tasks.demo; from tasks.app import make_huey; make_huey(); print(*sys.modules)"
    environment = os.environ | {"REDIS_URL": "redis://127.0.0.1:1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert {"PIL", "zstandard"}.isdisjoint(done.stdout.split())


def test_a_link_that_goes_while_it_is_followed_fails_in_words(
    run: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photo(root / "a.png")
    (root / "link").symlink_to(root)

    def gone(path: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr(os, "readlink", gone)
    with pytest.raises(PermanentFailure, match="the path cannot be followed: No such file or directory"):
        run(source, {"type": "thumbnail"}, output=str(root / "link/b.png"))


def test_a_folder_swapped_for_a_link_leads_nowhere(
    run: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "a.png")
    (root / "inner").mkdir()
    photo(root / "inner/a.png")
    real = os.path.realpath

    def then_swap(path: Any) -> str:
        resolved = real(path)
        if str(path).endswith("a.png") and not (root / "moved").exists():
            (root / "inner").rename(root / "moved")
            (root / "inner").symlink_to(tmp_path)
        return resolved

    monkeypatch.setattr(os.path, "realpath", then_swap)
    with pytest.raises(PermanentFailure, match="a picture cannot be read"):
        run(root / "inner/a.png", {"type": "thumbnail"}, output="b.png")

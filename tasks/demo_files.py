"""The demo's pictures and logs: a folder of its own with files made as they are needed, and few of them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.queues import image_processing, log_processing
from tasks.service import QueueService
from tasks.settings import load_platform_settings

_PICTURES = 6
_LOGS = 4
_LINES = 3000
_PLACES = ("*.log", "*.log", "*.log", "*.log", "/var/log/*.log")
_MOST_ARCHIVED = 2_000_000  # bytes
_OPERATIONS: tuple[list[dict[str, Any]], ...] = (
    [{"type": "thumbnail", "width": 160}, {"type": "convert", "format": "webp"}],
    [{"type": "resize", "width": 640}, {"type": "watermark", "text": "Cloud phones"}],
    [{"type": "crop", "width": 400, "height": 400}, {"type": "rotate", "degrees": 15}],
    [{"type": "compress", "maxBytes": 20_000}, {"type": "convert", "format": "jpeg"}, {"type": "strip-metadata"}],
)


def file_environment(folder: Path) -> dict[str, str]:
    """The folders in which the demo's worker may work on files, made below `folder`."""
    found = {"CLOUDQ_IMAGES__ROOTS": folder / "pictures", "CLOUDQ_LOGS__ROOTS": folder / "logs"}
    for place in found.values():
        place.mkdir(mode=0o700, exist_ok=True)
    return {name: str(place) for name, place in found.items()}


class FileFeed:
    """Adds jobs on files, under the environment above. A queue whose libraries are not here gets none."""

    def __init__(self, service: QueueService, chance: random.Random) -> None:
        settings = load_platform_settings()
        self._service = service
        self._random = chance
        self._pictures = settings.images.roots[:1] if not image_processing.QUEUE.missing() else ()
        self._logs = settings.logs.roots[:1] if not log_processing.QUEUE.missing() else ()

    def opening(self) -> None:
        for _ in range(_PICTURES):
            self.picture()
        for name in ("archive", "analyze", "clean"):
            self.logs(name)

    def round(self) -> None:
        if self._random.random() < 0.4:
            self.picture()
        if self._random.random() < 0.1:
            self.logs(self._random.choice(("archive", "analyze", "analyze", "clean")))

    def picture(self) -> None:
        """One picture, now and then one that is damaged."""
        for root in self._pictures:
            number = self._random.randrange(_PICTURES)
            source = root / f"screen-{number}.png"
            if self._random.random() < 0.05:
                source = root / "damaged.png"
                source.write_bytes(b"\x89PNG\r\n\x1a\n but no more")
            elif not source.exists():
                _draw(source, number)
            payload = {"input": str(source), "operations": self._random.choice(_OPERATIONS)}
            self._service.enqueue("image-processing", "process-image", payload)

    def logs(self, name: str) -> None:
        """One of archive, analyze, clean, on logs that are written first; now and then on somebody else's."""
        for root in self._logs:
            if name != "clean":
                self._write(root / f"device-{self._random.randrange(_LOGS)}.log")
            archives = {"paths": ["*.log*.gz"], "policy": {"maxTotalBytes": _MOST_ARCHIVED}}
            payload = archives if name == "clean" else {"paths": [self._random.choice(_PLACES)]}
            self._service.enqueue("log-processing", f"{name}-logs", payload)

    def _write(self, path: Path) -> None:
        now, chance = datetime.now(UTC), self._random
        with path.open("w") as file:
            for number in range(_LINES):
                at = (now - timedelta(seconds=_LINES - number)).isoformat(timespec="milliseconds")
                level = chance.choices(("INFO", "WARNING", "ERROR"), weights=(90, 8, 2))[0]
                text = f"device-{chance.randrange(40):03} answered in {chance.randrange(900)} ms"
                line = {"timestamp": at, "level": level, "message": text}
                file.write((json.dumps(line) if path.stem.endswith("0") else f"{at} {level} {text}") + "\n")


def _draw(path: Path, number: int) -> None:
    from PIL import Image, ImageDraw  # noqa: PLC0415 - a worker's library, asked for only where it is

    image = Image.effect_noise((1080, 800), 30 + 10 * number).convert("RGB")
    ImageDraw.Draw(image).rectangle((200, 150, 880, 650), fill=(40 * number, 90, 200 - 30 * number))
    image.save(path)

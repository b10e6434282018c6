"""Makes the pictures in this folder from the running system: `python screenshots/make.py`.

A worker runs the demo's jobs on a Redis in a temporary folder; the dashboard is driven by the keys a person would
press, and what it shows is saved.
"""

from __future__ import annotations

import asyncio
import html
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from cloudq_tui.bootstrap import Runtime
from cloudq_tui.demo import demo_stage
from cloudq_tui.tui.app import CloudqApp

HERE = Path(__file__).parent
SIZE = (100, 30)


async def _until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        await pilot.pause(0.1)
    raise TimeoutError("the demo did not come to the state that the picture needs")


_TEXT = re.compile(r'(<text [^>]*?x=")([0-9.]+)(" [^>]*?textLength=")([0-9.]+)("[^>]*>)([^<]*)(</text>)')
_BLANKS = re.compile(r"^\xa0+|\xa0{2,}|\xa0+$")


def _anchored(svg: str) -> str:
    """Words at their own place instead of behind blanks: some renderers drop blanks, or take no textLength."""

    def move(found: re.Match[str]) -> str:
        head, x, middle, length, rest, content, tail = found.groups()
        line = html.unescape(content)
        width = float(length) / max(1, len(line))
        placed, start = "", 0
        for gap in (*_BLANKS.finditer(line), None):
            words = line[start : gap.start() if gap else None]
            if words:
                left, wide = float(x) + start * width, len(words) * width
                shown = html.escape(words, quote=False).replace("\xa0", "&#160;")
                placed += f"{head}{left:g}{middle}{wide:g}{rest}{shown}{tail}"
            start = gap.end() if gap else 0
        return placed

    return _TEXT.sub(move, svg)


async def _shoot(app: CloudqApp, runtime: Runtime) -> None:
    operations = runtime.operations

    def failed(job: str) -> int:
        jobs = operations.queue_jobs("email", "failed", 0, 99)
        return sum(one.attempts_made > 3 for one in jobs) if job == "retried" else len(jobs)

    def save(name: str) -> None:
        (HERE / f"{name}.svg").write_text(_anchored(app.export_screenshot()), encoding="utf-8")

    async with app.run_test(size=SIZE) as pilot:
        await _until(pilot, lambda: failed("all") >= 6 and failed("retried") >= 2)
        operations.pause_queue("sms", "provider maintenance", 900)
        await _until(
            pilot, lambda: (operations.count("sms", "paused") > 3) and bool(operations.count("email", "active"))
        )
        await pilot.pause(1.2)
        save("overview")
        await pilot.press("enter")
        await pilot.pause(1.2)
        await pilot.press("space", "j", "space", "j")
        await pilot.pause(0.3)
        save("queue")
        await pilot.press("enter")
        await pilot.pause(1.2)
        await pilot.press("t")
        await pilot.pause(0.3)
        save("job")
        await pilot.press("escape", "escape")
        await pilot.pause(0.3)
        await pilot.press("j", "e")
        await pilot.pause(0.8)
        save("confirm")
        await pilot.press("escape")
        operations.resume_queue("sms")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cloudq-") as folder, demo_stage(Path(folder)) as (runtime, worker):
        app = CloudqApp(runtime.operations, settings=runtime.settings, worker=worker)
        asyncio.run(_shoot(app, runtime))


if __name__ == "__main__":
    main()

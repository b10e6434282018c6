"""What every command shares: how it opens the operations, asks a person, and prints."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudq_tui.errors import Conflict

if TYPE_CHECKING:
    from cloudq_tui.bootstrap import Runtime
    from cloudq_tui.models.queue import Preview
    from cloudq_tui.services.operations import QueueOperations

Queue = Annotated[str, typer.Argument(help="Name of the queue.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, or its first characters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Undo = Annotated[
    bool, typer.Option("--undo/--no-undo", help="Can be undone for 10 minutes; until then its memory stays taken.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class Door:
    """What was said before the command."""

    config: Path | None
    read_only: bool

    def open(self, door: str = "cli", *, with_definitions: bool = False) -> Runtime:
        from cloudq_tui.bootstrap import build, default_actor, load_definitions  # noqa: PLC0415
        from cloudq_tui.settings import load_settings  # noqa: PLC0415

        if self.config is not None:
            # For who reads settings later: the task module, and the worker's process.
            os.environ["CLOUDQ_CONFIG"] = str(self.config.expanduser().absolute())
        settings = load_settings(self.config)
        known = load_definitions(settings.worker.task_path) if with_definitions else ()
        return build(settings, actor=default_actor(door), read_only=self.read_only, definitions=known)


@contextmanager
def opened(context: typer.Context) -> Iterator[QueueOperations]:
    with context.obj.open() as runtime:
        yield runtime.operations


def print_json(value: Any) -> None:
    """JSON for a pipe or a person: readable letters, no character that steers a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    steering = r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
    typer.echo(re.sub(steering, lambda found: f"\\u{ord(found.group()):04x}", text))


def duration_of(text: str) -> timedelta:
    from cloudq_tui.tui import durations  # noqa: PLC0415

    try:
        return durations.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def ask(operations: QueueOperations, yes: bool, queue: str, verb: str, preview: Preview) -> None:
    """Say what would be touched, and go on only if the person means it."""
    if not preview.count:
        return  # the act will say that there was nothing to do
    from cloudq_tui.cli import printed  # noqa: PLC0415

    threshold = operations.settings.dashboard.confirm_threshold
    expected = queue if preview.count > threshold else ""
    confirm(operations, yes, f"{verb.capitalize()} {printed.previewed(preview)} of {queue}?", expected)


def confirm(operations: QueueOperations, yes: bool, question: str, phrase: str = "") -> None:
    if yes or operations.read_only:  # a read-only session is refused by the act itself
        return
    if not sys.stdin.isatty():
        raise Conflict(f"{question} Nobody is there to ask: say --yes.")
    if phrase:
        typer.echo(question)
        agreed = typer.prompt(f"Type the queue's name to go on ({phrase})", default="", show_default=False) == phrase
    else:
        agreed = typer.confirm(question)
    if not agreed:
        raise Conflict("nothing was changed")

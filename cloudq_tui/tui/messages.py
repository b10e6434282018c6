"""What travels from the poller's thread to the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.message import Message

from cloudq_tui.models.queue import Snapshot

if TYPE_CHECKING:
    from cloudq_tui.services.operations import QueueOperations


@dataclass(frozen=True)
class Look:
    """What a screen wants read beside the snapshot. `key` tells whose answer it is: an answer to a question that
    the screen no longer asks is dropped."""

    key: tuple[object, ...]
    read: Callable[[QueueOperations], Any]


class Polled(Message):
    """A look at Redis succeeded. `seen` answers `look`; it is the exception if only that part failed."""

    def __init__(self, serial: int, snapshot: Snapshot, look: Look | None, seen: Any) -> None:
        super().__init__()
        self.serial = serial
        self.snapshot = snapshot
        self.look = look
        self.seen = seen

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Polled)


class PollFailed(Message):
    """Redis could not be read; `reason` is one line."""

    def __init__(self, serial: int, reason: str) -> None:
        super().__init__()
        self.serial = serial
        self.reason = reason

"""Providers that put text messages on their way, by name.

A provider that cannot send says so at once and names the setting; none ever falls back to the sandbox, where
messages would vanish unseen.
"""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cloudq_tui.errors import PermanentFailure, TemporaryFailure

Variables = Mapping[str, str | int | float]


class SmsProvider(Protocol):
    """One way out. Temporary faults raise TemporaryFailure, the others PermanentFailure."""

    def send(self, phone: str, message: str, template: str | None, variables: Variables | None) -> str:
        """Send to one number; the provider's receipt id."""
        ...


class SandboxProvider:
    """Appends each message as one JSON line to an outbox file, for demos and tests."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox

    def send(self, phone: str, message: str, template: str | None, variables: Variables | None) -> str:
        receipt = f"sandbox-{uuid.uuid4().hex[:16]}"
        entry = {
            "id": receipt,
            "at": time.time_ns() // 1_000_000,
            "phone": phone,
            "message": message,
            "template": template,
            "variables": None if variables is None else dict(variables),
        }
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        try:
            self._append(self._outbox, line)
        except OSError as error:
            raise TemporaryFailure(f"the sandbox outbox cannot be written: {error.strerror}") from error
        return receipt

    @staticmethod
    def _append(outbox: Path, line: bytes) -> None:
        """One O_APPEND write per line keeps the lines of several workers apart."""
        descriptor = os.open(outbox, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class SmsGateway:
    """The providers at hand, why others are not, which one is the default, and how many go out in a minute."""

    ready: Mapping[str, SmsProvider]
    unavailable: Mapping[str, str]
    default: str
    max_per_minute: int

    def provider(self, name: str) -> SmsProvider:
        """Raises PermanentFailure with the reason when messages cannot go that way."""
        if name not in self.ready:
            reason = self.unavailable.get(name, "no such provider")
            raise PermanentFailure(f"SMS provider {name}: {reason}")
        return self.ready[name]

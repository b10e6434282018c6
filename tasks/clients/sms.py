"""Providers that put text messages on their way, by name, and the ways around one that is down.

A provider that cannot send says so at once and names the setting; none ever falls back to the sandbox, where
messages would vanish unseen.
"""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from tasks.clients.http_call import Answer, Unanswered, call
from tasks.contacts import peer_words

Variables = Mapping[str, str | int | float]
DOWN_FOR = 30.0
"""Seconds for which a provider that was down is asked last."""


class ProviderDown(TemporaryFailure):
    """The provider as a whole is away or broken, so that another one may be asked instead."""


@dataclass(frozen=True, slots=True)
class Text:
    """One message to one number (as `parse_phone` leaves it). Its fields never show in an error."""

    phone: str
    message: str = field(repr=False)
    template: str | None = None
    variables: Variables | None = field(default=None, repr=False)


class SmsProvider(Protocol):
    """One way out. ProviderDown lets another provider try, TemporaryFailure asks to come again."""

    def send(self, text: Text, *, timeout: float) -> str:
        """Send within `timeout` seconds; the provider's receipt id. Raises PermanentFailure if it never can."""
        ...


@dataclass(frozen=True, slots=True)
class Template:
    """A provider's own template: its id, and its variables in the provider's order."""

    id: str
    variables: Sequence[str] = ()

    def values(self, given: Variables, where: str) -> dict[str, str]:
        """What fills it, in order. Raises PermanentFailure naming the variable that is missing."""
        names = self.variables or list(given)
        missing = next((name for name in names if name not in given), None)
        if missing is not None:
            raise PermanentFailure(f"the message has no variable {missing!r}, which {where} asks for")
        return {name: str(given[name]) for name in names}


@dataclass(frozen=True, slots=True)
class SmsApi:
    """A provider's HTTP API, as all of them have it: where it is, how long it may take, what it is called."""

    name: str
    endpoint: str
    timeout: float = 10.0
    templates: Mapping[str, Template] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        return f"sms.providers.{self.name}"

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Answer:
        """One request. Raises ProviderDown when there is no answer or a broken one, TemporaryFailure when busy."""
        try:
            answer = call(
                method,
                url,
                headers=headers,
                content=body,
                timeout=min(self.timeout, timeout),
                peer=self.name,
            )
        except Unanswered as error:
            raise ProviderDown(str(error)) from None
        return answer

    def template(self, text: Text) -> tuple[Template, dict[str, str]] | None:
        """The provider's template for a message and what fills it; None if the settings have none for it.

        A message without a template goes by the template `message`, whose one variable is the text.
        """
        name = text.template or "message"
        found = self.templates.get(name)
        if found is None:
            return None
        given = text.variables if text.template else {"message": text.message}
        return found, found.values(given or {}, f"{self.setting}.templates.{name}")

    def no_template(self, text: Text) -> PermanentFailure:
        if text.template is None:
            words = "sends by template only: name one with the message, or set"
            return PermanentFailure(f"SMS provider {self.name} {words} {self.setting}.templates.message")
        return PermanentFailure(
            f"SMS provider {self.name}: {self.setting}.templates.{text.template} is not set, "
            f"and the name is no template id of {self.name}"
        )

    def words(self, code: str, said: object, text: Text, *secrets: str) -> str:
        """`NAME CODE: what the provider said`, without anything of the message that it repeats."""
        shown = str(said)
        parts = [text.phone.lstrip("+"), text.phone[-11:], text.message, *map(str, (text.variables or {}).values())]
        for part in sorted({*parts, *secrets} - {""}, key=len, reverse=True):
            for form in (part, quote(part, safe="~"), quote(quote(part, safe="~"))):
                # A value such as "5" hides nothing and would riddle the text.
                shown = shown.replace(form, "***") if len(part) > 2 else shown
        return peer_words(f"{self.name} {code}: {shown}" if shown else f"{self.name} {code}")


def unreadable(api: SmsApi, answer: Answer) -> ProviderDown:
    """The answer is not the provider's own: a proxy, a page for people."""
    return ProviderDown(f"{api.name} answered {answer.status} with something else than its API's JSON")


def read_json(answer: Answer) -> dict[str, object] | None:
    """The body as a JSON object; None if it is none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class SandboxProvider:
    """Appends each message as one JSON line to an outbox file, for demos and tests."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox

    def send(self, text: Text, *, timeout: float) -> str:  # noqa: ARG002 - a local file has no silent peer
        receipt = f"sandbox-{uuid.uuid4().hex[:16]}"
        entry = {
            "id": receipt,
            "at": time.time_ns() // 1_000_000,
            "phone": text.phone,
            "message": text.message,
            "template": text.template,
            "variables": None if text.variables is None else dict(text.variables),
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
    """The providers at hand, why others are not, which one is the default, and how many go out in a minute.

    `failover` names those that are asked, in this order, when one is down.
    """

    ready: Mapping[str, SmsProvider]
    unavailable: Mapping[str, str]
    default: str
    max_per_minute: int
    failover: Sequence[str] = ()
    _down: dict[str, float] = field(default_factory=dict, repr=False)

    def provider(self, name: str) -> SmsProvider:
        """Raises PermanentFailure with the reason when messages cannot go that way."""
        if name not in self.ready:
            reason = self.unavailable.get(name, "no such provider")
            raise PermanentFailure(f"SMS provider {name}: {reason}")
        return self.ready[name]

    def route(self, name: str) -> list[str]:
        """Who is asked for a message that `name` should send, in order; one that was just down comes last.

        Raises PermanentFailure when `name` itself cannot send: another one would hide the missing setting.
        """
        self.provider(name)
        names = [name, *(other for other in self.failover if other != name and other in self.ready)]
        now = time.monotonic()
        return sorted(names, key=lambda one: self._down.get(one, 0.0) > now)

    def send(self, name: str, text: Text, *, timeout: float) -> str:
        """Send by this provider; remembers one that is down."""
        try:
            receipt = self.provider(name).send(text, timeout=timeout)
        except ProviderDown:
            self._down[name] = time.monotonic() + DOWN_FOR
            raise
        self._down.pop(name, None)
        return receipt

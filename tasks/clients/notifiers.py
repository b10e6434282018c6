"""Ways to notify people and systems, by name: chat and push services by apprise, and webhooks signed by us.

URLs and secrets stay in here: an error names the target, never its URL or a part of it. Loads apprise, so only a
worker may import this.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from apprise import Apprise, AppriseAsset, AppriseResult, AppriseResultStatus, NotifyFormat

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from tasks.clients.http_call import call
from tasks.contacts import peer_words
from tasks.webhooks import sign

# Their debug lines carry whole URLs; what apprise says of a failure is in its result too.
logging.getLogger("apprise").propagate = False
for _name in ("apprise", "urllib3", "requests"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_STATUS = re.compile(r"error=(\d{3})\b")
_BUSY = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be told. `id` is the same however often it is tried."""

    id: str
    title: str
    body: str
    level: str
    kind: str


class Notifier(Protocol):
    """One target. Temporary faults raise TemporaryFailure, the others PermanentFailure."""

    def send(self, note: Note, *, timeout: float) -> None:
        """Deliver within `timeout` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class AppriseNotifier:
    """A chat, push or other service by its apprise URL (https://github.com/caronc/apprise/wiki)."""

    name: str
    url: str = field(repr=False)
    timeout: float = 10.0

    def send(self, note: Note, *, timeout: float) -> None:
        started = time.monotonic()
        # A fresh one for each message: apprise's own pauses between messages would hold this thread. Without a
        # timeout of its own: for that it has a few threads that all targets share, and that slow ones take away.
        apprise = Apprise(asset=AppriseAsset(async_mode=False, service_timeout=0))
        known = apprise.add(self.url)
        # The first message of a process loads all of apprise's plugins; that is not the target's time.
        now = time.monotonic()
        limit = max(0.05, min(self.timeout, timeout - (now - started)))
        if not known and now - started < timeout:
            where = f"notification.targets.{self.name}"
            raise PermanentFailure(f"target {self.name}: {where} is no URL that apprise knows or takes")
        for service in apprise:
            # A little longer, so that silence is told as a timeout, and the thread that waits ends soon after.
            service.socket_connect_timeout = service.socket_read_timeout = limit + 0.5
        with self._told(apprise, note, limit) as result:
            if result:
                return
            # A worker's own alarm is swallowed by apprise in `add`, and comes back as no match.
            if result.status is AppriseResultStatus.NOMATCH or time.monotonic() > now + limit - 0.05:
                raise self._late(limit)
            raise self._fault(result)

    def _told(self, apprise: Apprise, note: Note, limit: float) -> AppriseResult:
        """Let apprise tell it in a thread that is left behind when it is late: a peer can feed it byte by byte."""
        ended: queue.SimpleQueue[AppriseResult | Exception] = queue.SimpleQueue()

        def tell() -> None:
            try:
                ended.put(
                    apprise.notify(
                        body=note.body, title=note.title, notify_type=note.level, body_format=NotifyFormat.TEXT
                    )
                )
            except Exception as error:  # noqa: BLE001 - told where the end is awaited
                ended.put(error)

        threading.Thread(target=tell, name="notify", daemon=True).start()
        try:
            result = ended.get(timeout=limit)
        except queue.Empty:
            raise self._late(limit) from None
        if isinstance(result, Exception):
            words = self._without_secrets(f"{type(result).__name__}: {result}")
            raise TemporaryFailure(f"target {self.name}: {words}")
        return result

    def _late(self, limit: float) -> TemporaryFailure:
        return TemporaryFailure(f"timeout: target {self.name} ({limit:.1f}s)")

    def _fault(self, result: AppriseResult) -> JobSignal:
        """apprise tells success from failure only; its log line has the HTTP status of most services."""
        said = [self._without_secrets(entry.message) for entry in result.logs()]
        words = f"target {self.name}: {said[-1] if said else 'not delivered'}"
        status = next((int(found[1]) for found in map(_STATUS.search, said) if found), None)
        if status is not None and 400 <= status < 500 and status not in _BUSY:
            return PermanentFailure(words)
        return TemporaryFailure(words)

    def _without_secrets(self, text: str) -> str:
        """apprise's words without any part of the URL: what is a host for one service is a token for another."""
        parts = {part for url in (self.url, unquote(self.url)) for part in re.split(r"[/:@?&=,+\s]+", url)}
        for part in sorted((part for part in parts if len(part) > 3), key=len, reverse=True):
            text = text.replace(part, "***")
        return peer_words(text)


@dataclass(frozen=True, slots=True)
class WebhookNotifier:
    """A URL that takes our JSON, signed as `tasks.webhooks` says."""

    name: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    timeout: float = 10.0

    def send(self, note: Note, *, timeout: float) -> None:
        message = {
            "id": note.id,
            "kind": note.kind,
            "level": note.level,
            "title": note.title,
            "body": note.body,
        }
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", "user-agent": "cloudq"}
        headers |= sign(self.secret, note.id, int(time.time()), body)
        peer = f"target {self.name}"
        limit = min(self.timeout, timeout)
        answer = call("POST", self.url, headers=headers, content=body, timeout=limit, peer=peer)
        if answer.ok:
            return
        if answer.busy or answer.broken:
            raise TemporaryFailure(f"{peer} answered {answer.status}", retry_after=answer.retry_after)
        raise PermanentFailure(f"{peer} answered {answer.status}")


@dataclass(frozen=True, slots=True)
class Notifiers:
    """The targets at hand, and why others are not."""

    ready: Mapping[str, Notifier]
    unavailable: Mapping[str, str] = field(default_factory=dict)

    def target(self, name: str) -> Notifier:
        """Raises PermanentFailure when there is none of that name."""
        for known in (name, name.lower()):  # variables of the environment lose their case
            if known in self.ready:
                return self.ready[known]
            if known in self.unavailable:
                raise PermanentFailure(f"target {name}: {self.unavailable[known]}")
        raise PermanentFailure(
            f"target {name}: neither notification.targets nor notification.webhooks has one of that name"
        )

"""The demo's far end for notifications: an HTTP server on loopback that verifies our webhooks and has its moods."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.webhooks import SignatureRefused, verify

_MOODS = ("crm", "billing", "legacy")  # takes all at once; slow and at times busy; gone for good


class _Receiver(BaseHTTPRequestHandler):
    secret = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(self._status(self.path.strip("/"), body))
        self.send_header("content-length", "0")
        self.end_headers()

    def _status(self, place: str, body: bytes) -> int:
        if place in _MOODS:
            try:
                verify(self.secret, dict(self.headers.items()), body)
            except SignatureRefused:
                return 401
        if place == "legacy":
            return 410
        if place == "billing":
            time.sleep(random.uniform(0.2, 1.5))  # noqa: S311 - pace
            return 503 if random.random() < 0.2 else 204  # noqa: S311 - mood
        return 204

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """The screen belongs to the dashboard."""


@contextmanager
def receiver() -> Iterator[dict[str, str]]:
    """Run it on a free port while the block runs; yields the settings of a worker that notifies it."""
    secret = secrets.token_urlsafe(24)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Receiver", (_Receiver,), {"secret": secret}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="demo-receiver", daemon=True)
    thread.start()
    place = f"127.0.0.1:{server.server_port}"
    settings = {"CLOUDQ_NOTIFICATION__TARGETS__OPS": f"json://{place}/chat"}
    for name in _MOODS:
        settings[f"CLOUDQ_NOTIFICATION__WEBHOOKS__{name.upper()}__URL"] = f"http://{place}/{name}"
        settings[f"CLOUDQ_NOTIFICATION__WEBHOOKS__{name.upper()}__SECRET"] = secret
    try:
        yield settings
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def notice(choice: random.Random) -> dict[str, Any]:
    """One send-notification payload of the demo."""
    kind = choice.choices(("general", "realtime", "payment"), weights=(6, 3, 1))[0]
    device = f"device-{choice.randrange(1000):03}"
    if kind == "payment":
        words = {"title": "Payment received", "body": "An order was paid.", "level": "success"}
    elif kind == "realtime":
        words = {"title": f"{device} is offline", "body": "Its heartbeat is missing.", "level": "warning"}
    else:
        words = {"title": "Backup finished", "body": f"{device} was saved.", "level": "info"}
    targets = choice.choices((["ops"], ["crm"], ["ops", "billing"], ["legacy"]), weights=(5, 4, 3, 1))[0]
    return {"targets": targets, "kind": kind, **words}

"""Keeps web pages away: who may talk to an interface that, on loopback, asks for no token.

A page in the user's own browser can reach 127.0.0.1. Under its own name it is told apart by `Origin`; with a name
that it points at 127.0.0.1 (DNS rebinding), by `Host`. There is no CORS: no page is meant to be a client.
"""

from __future__ import annotations

import ipaddress
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
    """ASGI middleware that answers only requests addressed to, and made from, this machine's own names."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _names_loopback(f"//{headers.get('host', '')}"):
            await _refusal(400, "wrong_host", "this interface answers to loopback names only")(scope, receive, send)
        elif "origin" in headers and not _names_loopback(headers["origin"]):
            await _refusal(403, "wrong_origin", "web pages may not use this interface")(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _names_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _refusal(status: int, code: str, message: str) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}})
    return Response(body, status_code=status, media_type="application/json")

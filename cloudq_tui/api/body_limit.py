"""Keeps large bodies out of memory: they are refused by their announced length, or as soon as too much has come."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware by which whoever reads a body of more than `most` bytes meets a 413 instead of its rest."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        come = 0

        async def limited() -> Message:
            nonlocal come
            if announced.isdecimal() and int(announced) > self._most:
                # Before the first byte is asked for: a client that waits for "100 Continue" need not send any.
                raise self._refusal(f"{int(announced):,} bytes")
            message = await receive()
            come += len(message.get("body", b""))
            if come > self._most:
                raise self._refusal("more")
            return message

        await self.app(scope, limited, send)

    def _refusal(self, size: str) -> HTTPException:
        return HTTPException(413, f"the body has {size}, api.max_body allows {self._most:,}; send less at a time")

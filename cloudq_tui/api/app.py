"""The REST interface: a FastAPI application over operations, and the server that carries it.

Holds no rule of its own. Without tokens it listens on loopback only, where whoever is on this machine may read
and write.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

import cloudq_tui
from cloudq_tui.api import failures
from cloudq_tui.api.body_limit import BodyLimit
from cloudq_tui.api.guard import LoopbackOnly, is_loopback
from cloudq_tui.api.routes import router
from cloudq_tui.errors import SettingsError
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings


def create_app(operations: QueueOperations, *, settings: Settings) -> FastAPI:
    """The application; `operations` decide what is allowed and act in the interface's name."""
    check_address(settings)
    app = FastAPI(
        title="cloudq",
        version=cloudq_tui.__version__,
        description="Queues, jobs and what can be done with them. Times are epoch milliseconds.",
    )
    app.state.operations = operations
    app.add_middleware(BodyLimit, most=settings.api.max_body)
    app.add_middleware(LoopbackOnly)
    failures.install(app)
    app.include_router(router)
    return app


def check_address(settings: Settings) -> None:
    """Raises SettingsError for an address others could reach: there are no tokens to tell them apart by."""
    if not is_loopback(settings.api.host):
        raise SettingsError(
            f"api.host: {settings.api.host} is not loopback and there are no tokens yet, so anybody could act; "
            "use 127.0.0.1 and a tunnel"
        )


def serve_forever(
    operations: QueueOperations, *, settings: Settings, on_listening: Callable[[str], None] | None = None
) -> None:
    """Answer until interrupted, then raise KeyboardInterrupt; `on_listening` is told the URL.

    Raises SettingsError when the port is taken.
    """
    app = create_app(operations, settings=settings)
    with listen(settings.api.host, settings.api.port) as listener:
        if on_listening is not None:
            host = f"[{settings.api.host}]" if ":" in settings.api.host else settings.api.host
            on_listening(f"http://{host}:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        server.run(sockets=[listener])
    # It only ends by a signal, which it raises again; where something swallowed that, an interruption it stays.
    raise KeyboardInterrupt


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small answers at once only on sockets that say they are TCP; else each waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"api.port: cannot listen on {host}:{port}: {reason}") from None
    return listener

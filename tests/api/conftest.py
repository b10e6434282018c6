"""The REST interface over a real Redis, with one job of its own to enqueue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import httpx
import pytest
import uvicorn

from cloudq_tui.api.app import create_app, listen
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import InvalidPayload
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Backoff
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings


@dataclass(frozen=True)
class Definition:
    queue: str
    name: str
    needs: str
    priority: int = 5
    retries: int | None = 3
    backoff: Backoff | None = None
    timeout: timedelta | None = None

    def check(self, data: Any) -> dict[str, Any]:
        if self.needs not in data:
            raise InvalidPayload(self.needs, "field required", job=self.name)
        return dict(data)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


DEFINITIONS = (Definition("email", "send-email", "to"), Definition("sms", "send-sms", "phone"))


@pytest.fixture
def operations(engine: QueueEngine, reader: QueueReader) -> QueueOperations:
    return QueueOperations(engine, reader, Settings(), actor=Actor("api", "api"), definitions=DEFINITIONS)


class Served:
    """The real server on a free port, for all tests of this process; each hands it its own operations."""

    def __init__(self) -> None:
        self._app = create_app(None, settings=Settings())  # type: ignore[arg-type]
        self._listener = listen("127.0.0.1", 0)
        self._server = uvicorn.Server(uvicorn.Config(self._app, log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def hand(self, operations: QueueOperations) -> None:
        self._app.state.operations = operations


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with Served() as made:
        yield made


@pytest.fixture
def serve(served: Served) -> Iterator[Callable[[QueueOperations], httpx.Client]]:
    """Serves any operations; answers a client of them."""
    with httpx.Client(base_url=served.url) as client:

        def hand(operations: QueueOperations) -> httpx.Client:
            served.hand(operations)
            return client

        yield hand


@pytest.fixture
def client(serve: Callable[[QueueOperations], httpx.Client], operations: QueueOperations) -> httpx.Client:
    return serve(operations)

"""A durable Redis of one test's own, which the test may kill."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def own_server(redis_server: Any) -> Iterator[Any]:
    """A server with an append-only file synced at every write, in a folder with a short name."""
    with tempfile.TemporaryDirectory(prefix="cq-") as folder:
        server = type(redis_server)(Path(folder), "--appendonly", "yes", "--appendfsync", "always")
        server.start()
        yield server
        server.stop()

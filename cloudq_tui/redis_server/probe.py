"""One PING over a unix socket, without a Redis client: the watcher must start fast and stay small."""

from __future__ import annotations

import enum
import socket


class Answer(enum.Enum):
    READY = enum.auto()
    LOADING = enum.auto()
    """Alive and reading its files."""
    SILENT = enum.auto()
    """Somebody listens but does not answer in time."""
    GONE = enum.auto()


def ping(path: str, timeout: float = 1.0) -> Answer:
    """Ask the server at `path`; wait at most `timeout` seconds for each step."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
        except (TimeoutError, BlockingIOError):  # a full backlog is EAGAIN
            return Answer.SILENT
        except OSError:
            return Answer.GONE
    if answer.startswith(b"-LOADING"):
        return Answer.LOADING
    return Answer.READY if answer else Answer.GONE

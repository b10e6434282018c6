"""The connections the engine speaks through, and how their faults become this project's errors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from cloudq_tui.errors import QueueFull, QueueUnavailable, ScriptRefused
from cloudq_tui.settings import RedisSettings, SentinelSettings

_NO_RETRY: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
_SERVER_STATES = ("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "BUSY", "UNKILLABLE", "TRYAGAIN")
_BLOCK_MARGIN = 5.0  # seconds a blocking read may outlast what it was asked to wait


class Connection:
    """Two pools on one server: `client` for scripts, `blocking` for waits.

    redis-py re-sends commands by itself; both pools are told not to, since a verb re-sent without its request id
    could act twice. `revive` is called once when the server went away (the embedded one is started again by it)
    and returns True when a second try makes sense.
    """

    def __init__(
        self,
        make: Callable[[float], redis.Redis],
        *,
        address: str,
        timeout: float = 5.0,
        revive: Callable[[], bool] | None = None,
    ) -> None:
        self.address = address
        # redis-py types every answer as a union over all its protocols; the engine reads them by script.
        self.client: Any = make(timeout)
        self.blocking: Any = make(timeout + _BLOCK_MARGIN)
        self.lines = Lines(self.client)
        self.revive = revive
        self._guard = _Guard(address)

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0) -> Connection:
        """Connect to redis://, rediss:// or unix://. `timeout` in seconds bounds connecting and answering."""

        def make(answer: float) -> redis.Redis:
            options = {**_NO_RETRY, "socket_connect_timeout": timeout, "socket_timeout": answer}
            return redis.Redis.from_url(url, **options)

        return cls(make, address=_without_secret(url), timeout=timeout)

    def guard(self) -> AbstractContextManager[None]:
        """Turn any fault of the server or the way to it into QueueUnavailable or QueueFull."""
        return self._guard

    def close(self) -> None:
        """Drop every connection; the next call opens new ones (also right after a fork)."""
        self.client.connection_pool.disconnect()
        self.blocking.connection_pool.disconnect()


class Lines:
    """A pool's connections that stay out of it between two calls: giving one back and asking for it costs as much
    time as a short call's way.

    The server may have closed what lies here: it is for calls that can be made a second time, by the pool.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()

    def get_connection(self) -> Any:
        if self._pid != os.getpid():  # these are the parent's
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._client.connection_pool.get_connection()

    def release(self, connection: Any) -> None:
        self._idle.append(connection)


class _Guard:
    """Keeps no state, so one serves all threads."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Redis 6.2 wraps a script's OOM in words of its own.
        if isinstance(error, OutOfMemoryError) or (isinstance(error, ResponseError) and "-OOM " in str(error)):
            raise QueueFull(
                f"Redis at {self._address} is at its memory limit and refuses new jobs; raise maxmemory or clean queues"
            ) from None
        # A plain ResponseError is the script's own; its subclasses and the rest speak of the server.
        if type(error) is ResponseError and not str(error).startswith(_SERVER_STATES):
            raise ScriptRefused(f"Redis at {self._address} refused a call: {_reason(error)}") from error
        if isinstance(error, RedisError | OSError):
            raise QueueUnavailable(f"Redis at {self._address} cannot be used: {_reason(error)}") from error


def connect(
    settings: RedisSettings, *, socket: str | None = None, revive: Callable[[], bool] | None = None
) -> Connection:
    """The connection that the settings describe; `socket` is the embedded server's, where that is meant.

    Nothing is sent before the first verb. Raises SettingsError for what this version cannot speak to.
    """
    if settings.cluster:
        from cloudq_tui.engine.cluster_connection import connect_cluster  # noqa: PLC0415 - it builds on this module

        return connect_cluster(settings)
    options: dict[str, Any] = {
        **_NO_RETRY,
        "db": settings.db,
        "username": settings.username,
        "password": settings.password and settings.password.get_secret_value(),
        "socket_connect_timeout": settings.connect_timeout,
    }
    if settings.tls:
        options |= {"ssl": True} | _given(
            ssl_ca_certs=settings.tls_ca, ssl_certfile=settings.tls_cert, ssl_keyfile=settings.tls_key
        )
    if socket:
        # The private server has neither users nor databases to choose from.
        make = _direct(options | {"unix_socket_path": socket, "db": 0, "username": None, "password": None})
    elif settings.socket:
        make = _direct(options | {"unix_socket_path": str(settings.socket)})
    elif settings.sentinel:
        make = _through_sentinels(settings.sentinel, settings.unavailable_timeout, options)
    else:
        make = _direct(options | {"host": settings.host, "port": settings.port})
    return Connection(make, address=settings.address, timeout=settings.unavailable_timeout, revive=revive)


def _direct(options: dict[str, Any]) -> Callable[[float], redis.Redis]:
    return lambda answer: redis.Redis(**options, socket_timeout=answer)


def _through_sentinels(
    sentinel: SentinelSettings, timeout: float, options: dict[str, Any]
) -> Callable[[float], redis.Redis]:
    """The master that the sentinels name; asked again with every new connection."""
    own = {
        "socket_connect_timeout": options["socket_connect_timeout"],
        "socket_timeout": timeout,
        "password": sentinel.password and sentinel.password.get_secret_value(),
    }

    def make(answer: float) -> redis.Redis:
        # redis-py leaves its Sentinel class unannotated.
        asked: Any = Sentinel(sentinel.addresses, sentinel_kwargs=own, **options, socket_timeout=answer)  # type: ignore[no-untyped-call]
        master: redis.Redis = asked.master_for(sentinel.master)
        return master

    return make


def _given(**paths: Path | None) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items() if path is not None}


def _reason(error: Exception) -> str:
    return plain(str(error).strip().rstrip(".") or type(error).__name__)


def plain(text: str) -> str:
    """An error of Redis in one line that says what to do, where that is known."""
    if text.startswith(("HELLO must be called", "NOAUTH", "Authentication required")):
        return "it asks for a password; set REDIS_PASSWORD"
    if "WRONGTYPE " in text:  # the rest of it names a script by its hash, and no key
        return "WRONGTYPE, a key holds another kind of value than it must; `cloudq-tui doctor` says which"
    return text.splitlines()[0]


def _without_secret(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}".split("?", maxsplit=1)[0]

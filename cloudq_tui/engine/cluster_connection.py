"""The way to a Redis Cluster: found out at the first call, and again after a fork.

redis-py learns who holds which slot while its client is made, and keeps locks that a fork may catch held. So the
client is made by whoever first needs it, once in each process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ClusterError, RedisClusterException
from redis.retry import Retry

from cloudq_tui.engine.connection import Connection
from cloudq_tui.errors import SettingsError
from cloudq_tui.settings import RedisSettings

# redis-py re-sends what a lost node may have done already, unless told not to; redirections are followed all the
# same. A slot without a node is the trouble of the queues in it, not of all.
_OPTIONS: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "require_full_coverage": False}


class _Lazy:
    """Stands for the client of this process, which is made when something is asked of it."""

    def __init__(self, make: Callable[[], redis.RedisCluster]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, redis.RedisCluster] | None = None
        self._inherited: list[redis.RedisCluster] = []  # never touched, not even to close it: its locks may be held

    def __getattr__(self, name: str) -> Any:
        return getattr(self.opened(), name)

    def opened(self) -> redis.RedisCluster:
        made = self._made
        if made is not None and made[0] == os.getpid():
            return made[1]
        if made is not None:
            self._lock = threading.Lock()
            self._inherited.append(made[1])
            self._made = None
        with self._lock:
            if self._made is None:
                self._made = os.getpid(), self._make()
            return self._made[1]

    def close(self) -> None:
        made = self._made
        if made is not None and made[0] == os.getpid():
            self._made = None
            made[1].close()


class ClusterConnection(Connection):
    """`client` speaks to the node of a command's keys. Nothing blocks on a cluster: `blocking` is the same."""

    def __init__(self, make: Callable[[], redis.RedisCluster], *, address: str, timeout: float = 5.0) -> None:
        lazy = _Lazy(make)
        super().__init__(lambda _: lazy, address=address, timeout=timeout)  # type: ignore[arg-type,return-value]
        self._lazy = lazy

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0) -> ClusterConnection:
        """Connect by redis:// or rediss:// of any node. A cluster has no database but 0: one in the URL is ignored."""
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss"}:
            raise SettingsError(
                "a Redis Cluster is reached by redis:// or rediss:// of one of its nodes, not by a socket"
            )
        plain = urlunsplit(parts._replace(path="", query="", fragment=""))
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} (cluster)"
        options = {**_OPTIONS, "socket_connect_timeout": timeout, "socket_timeout": timeout}
        return cls(lambda: redis.RedisCluster.from_url(plain, **options), address=address, timeout=timeout)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """As any connection's; what redis-py says of the cluster itself stands outside its other errors."""
        with super().guard():
            try:
                yield
            except RedisClusterException as error:
                raise ClusterError(str(error)) from error

    def nodes(self) -> list[Connection]:
        """A connection to each master by itself, for what is asked of a server and not of a key."""
        with self.guard():
            cluster: Any = self._lazy.opened()
            clients = [(node.name, cluster.get_redis_connection(node)) for node in cluster.get_primaries()]
        return [Connection(lambda _, client=client: client, address=name) for name, client in clients]  # type: ignore[misc]

    def close(self) -> None:
        """Drop every connection; the next call finds the nodes anew."""
        self._lazy.close()


def connect_cluster(settings: RedisSettings) -> ClusterConnection:
    """The cluster of which the settings name a node. Raises SettingsError for a socket."""
    if settings.socket:
        raise SettingsError("redis.socket: a cluster is reached by host and port of one of its nodes")
    options: dict[str, Any] = {
        **_OPTIONS,
        "host": settings.host,
        "port": settings.port,
        "username": settings.username,
        "password": settings.password and settings.password.get_secret_value(),
        "socket_connect_timeout": settings.connect_timeout,
        "socket_timeout": settings.unavailable_timeout,
    }
    if settings.tls:
        files = {"ssl_ca_certs": settings.tls_ca, "ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
        options |= {"ssl": True} | {name: str(path) for name, path in files.items() if path is not None}
    return ClusterConnection(
        lambda: redis.RedisCluster(**options), address=settings.address, timeout=settings.unavailable_timeout
    )

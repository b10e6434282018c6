"""The connections the engine speaks through, and how their faults become this project's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError
from redis.retry import Retry

from cloudq_tui.errors import QueueFull, QueueUnavailable

_NO_RETRY = Retry(NoBackoff(), 0)
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
        self.revive = revive

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0, address: str = "", **options: Any) -> Connection:
        """Connect to a URL (redis://, rediss://, unix://). `timeout` in seconds bounds connecting and answers."""

        def make(answer_timeout: float) -> redis.Redis:
            return redis.Redis.from_url(
                url,
                socket_connect_timeout=timeout,
                socket_timeout=answer_timeout,
                retry=_NO_RETRY,
                retry_on_error=[],
                health_check_interval=0,
                **options,
            )

        return cls(make, address=address or _without_secret(url), timeout=timeout)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn any fault of the server or the way to it into QueueUnavailable or QueueFull."""
        try:
            yield
        except OutOfMemoryError:
            raise QueueFull(
                f"Redis at {self.address} is at its memory limit and refuses new jobs; "
                "raise maxmemory or clean queues"
            ) from None
        except (RedisError, OSError) as error:
            raise QueueUnavailable(f"Redis at {self.address} cannot be used: {_reason(error)}") from error

    def close(self) -> None:
        """Drop every connection; the next call opens new ones (also right after a fork)."""
        self.client.connection_pool.disconnect()
        self.blocking.connection_pool.disconnect()


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text.splitlines()[0]


def _without_secret(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}".split("?", maxsplit=1)[0]

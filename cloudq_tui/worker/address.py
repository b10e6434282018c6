"""Where Huey's own connection arguments point, as a URL."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from huey.exceptions import ConfigurationError

# Arguments of Huey's Redis storages that have no meaning here: what they choose is decided by the engine.
_WITHOUT_EFFECT = frozenset({"client_name", "notify_result", "notify_result_ttl", "clean_name"})


def url_of(url: str | None, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL, and the arguments left for Huey. Raises ConfigurationError where both a URL and a host are given."""
    rest = {name: value for name, value in arguments.items() if name not in _WITHOUT_EFFECT}
    if rest.pop("connection_pool", None) is not None:
        raise ConfigurationError("connection_pool= is not taken: the engine keeps pools of its own; give url=")
    names = ("host", "port", "db", "username", "password", "unix_socket_path")
    place = {name: value for name in names if (value := rest.pop(name, None)) is not None}
    if url and place:
        raise ConfigurationError(f"the connection is over-determined: url= and {', '.join(place)}=")
    if url or not place:
        return url or os.environ.get("REDIS_URL") or "redis://localhost:6379/0", rest
    secret = ""
    if "password" in place:
        secret = f"{quote(str(place.get('username', '')), safe='')}:{quote(str(place['password']), safe='')}@"
    database = place.get("db", 0)
    if "unix_socket_path" in place:
        return f"unix://{secret}{place['unix_socket_path']}?db={database}", rest
    return f"redis://{secret}{place.get('host', 'localhost')}:{place.get('port', 6379)}/{database}", rest

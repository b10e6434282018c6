"""The section redis: which server, and how it is spoken to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from cloudq_tui.settings.section import CommaList, Section, read_secret, xdg_folder

HostPort = Annotated[str, StringConstraints(pattern=r"^[^\s:,/@]+(:[0-9]{1,5})?$")]


class SentinelSettings(Section):
    hosts: Annotated[tuple[HostPort, ...], *CommaList] = Field(min_length=1)
    """The sentinels, each host or host:port (26379 unless said)."""
    master: str = "mymaster"
    """The name under which the sentinels know the master."""
    password: SecretStr | None = None
    """Password of the sentinels themselves; only from the environment."""

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The sentinels as (host, port)."""
        pairs = (host.partition(":") for host in self.hosts)
        return tuple((name, int(port or 26379)) for name, _, port in pairs)


class RedisSettings(Section):
    """Which Redis: the private embedded one unless a key from url to cluster is set.

    Once loaded the single keys hold what a URL or password_file said, so that readers need no other source.
    """

    url: SecretStr | None = None
    """redis://, rediss:// or unix:// with user, password and database; what it says wins over the single keys."""
    host: str = Field(default="localhost", min_length=1)
    """Host name of the server."""
    port: int = Field(default=6379, ge=1, le=65535)
    """TCP port of the server."""
    socket: Path | None = None
    """Unix socket of the server, instead of host and port."""
    username: str | None = None
    """ACL user."""
    password: SecretStr | None = None
    """Password; only from the environment (REDIS_PASSWORD), or use password_file."""
    password_file: Path | None = None
    """A file that holds the password and nothing else."""
    db: int = Field(default=1, ge=0)
    """Database number; a cluster has none but 0."""
    tls: bool = False
    """Speak TLS, as a rediss:// URL does."""
    tls_ca: Path | None = None
    """CA certificates (PEM) to trust instead of the system's."""
    tls_cert: Path | None = None
    """Client certificate (PEM), if the server asks for one."""
    tls_key: Path | None = None
    """Key of the client certificate (PEM)."""
    sentinel: SentinelSettings | None = None
    """Ask sentinels for the master instead of connecting to a fixed host."""
    cluster: bool = False
    """The server is a Redis Cluster; host and port name any of its nodes."""
    embedded: Literal["auto", "always", "never"] = "auto"
    """The private server: when nothing else is configured, whatever is configured, or never."""
    data_dir: Path = Field(default_factory=lambda: xdg_folder("XDG_DATA_HOME", ".local/share") / "redis")
    """Where the embedded server keeps its data; the user's processes that name the same folder share one server."""
    prefix: str = Field(default="cloudq", pattern=r"^[A-Za-z0-9_.-]{1,32}$")
    """First part of every key, so that several installations can share a database."""
    connect_timeout: float = Field(default=2.0, gt=0, le=60)
    """Seconds to wait for a connection."""
    unavailable_timeout: float = Field(default=3.0, gt=0, le=300)
    """Seconds after which a call on an unreachable Redis gives up with QueueUnavailable."""

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        resolved = dict(given)
        if resolved.get("password") is None and resolved.get("password_file") is not None:
            resolved["password"] = read_secret("redis.password_file", Path(str(resolved["password_file"])))
        if isinstance(url := resolved.get("url"), str | SecretStr):
            with contextlib.suppress(ValueError):  # the field's own validator says so under its own key
                resolved |= _url_parts(url)
        clustered = str(resolved.get("cluster")).lower() in {"true", "1", "yes", "on"}
        return resolved | {"db": 0} if clustered else resolved

    @field_validator("url")
    @classmethod
    def _readable_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            _url_parts(url)
        return url

    @field_validator("socket", "password_file", "tls_ca", "tls_cert", "tls_key", "data_dir")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def _one_server(self) -> RedisSettings:
        if self.sentinel and (self.cluster or self.url or self.socket):
            raise ValueError("sentinel cannot be combined with cluster, url or socket")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key go together")
        if (self.tls_ca or self.tls_cert) and not self.tls:
            raise ValueError("tls_ca and tls_cert need tls: true, or they would protect nothing")
        if self.embedded == "never" and not self._names_server:
            raise ValueError("embedded is 'never' but no server is named: set REDIS_URL or redis.host")
        return self

    @property
    def _names_server(self) -> bool:
        given = (getattr(self, key) for key in self.model_fields_set & _SERVER_KEYS)
        return any(value is not None and value is not False for value in given)

    @property
    def is_embedded(self) -> bool:
        """Whether the private server is meant."""
        return self.embedded == "always" or (self.embedded == "auto" and not self._names_server)

    @property
    def address(self) -> str:
        """What people are shown: never a user name or a password."""
        if self.is_embedded:
            return f"embedded ({self.data_dir})"
        if self.sentinel:
            return f"sentinel {self.sentinel.master}/{self.db} via {', '.join(self.sentinel.hosts)}"
        if self.socket:
            return f"unix:{self.socket}, database {self.db}"
        where = f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}"
        return f"{where} (cluster)" if self.cluster else f"{where}/{self.db}"


_SERVER_KEYS = frozenset(RedisSettings.model_fields) - {
    "embedded", "data_dir", "prefix", "connect_timeout", "unavailable_timeout",
}  # fmt: skip


def _url_parts(url: str | SecretStr) -> dict[str, Any]:
    """The single keys a URL speaks of. urllib's own errors quote the password, so they go no further."""
    unreadable = "must be redis://[user:password@]host[:port][/database]; percent-encode special characters"
    try:
        parts = urlsplit(url if isinstance(url, str) else url.get_secret_value())
        port, query = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(unreadable) from None
    by_socket, path = parts.scheme == "unix", parts.path.strip("/")
    database = query.pop("db", ["" if by_socket else path])[0]
    fits = path if by_socket else parts.hostname and parts.scheme in {"redis", "rediss"}
    if not fits or query or parts.fragment or not re.fullmatch(r"[0-9]*", database):
        raise ValueError(unreadable)
    keys: dict[str, Any] = (
        {"socket": unquote(parts.path)} if by_socket else {"host": parts.hostname, "port": port or 6379}
    )
    keys |= {"db": int(database)} if database else {}
    keys |= {"username": unquote(parts.username)} if parts.username else {}
    keys |= {"password": SecretStr(unquote(parts.password))} if parts.password else {}
    return keys | ({"tls": True} if parts.scheme == "rediss" else {})

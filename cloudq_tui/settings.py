"""The core settings: what may be set, the defaults, and the one order in which sources are read.

    defaults < YAML file < .env < environment < flags

Owns the sections redis, queues, worker, dashboard, api and alerts, and the loader that an application reuses for
sections of its own (`load_settings_as`). Imports models and errors only. A model built directly, `Settings()`, is
plain defaults: nothing but the loader looks at files or at the environment. Durations are seconds unless a
field says milliseconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as SourceError

from cloudq_tui.errors import SettingsError
from cloudq_tui.models.job import Backoff

log = logging.getLogger(__name__)

RESERVED_QUEUES = frozenset({"test"})
"""Names no queue may bear: the REST interface's own routes stand there."""

PLATFORM_QUEUES: Mapping[str, Mapping[str, Any]] = {
    "email": {},
    "sms": {},
    "notification": {},
    "device-operation": {"concurrency": 4},
    "data-export": {"concurrency": 2},
    "report-generation": {"concurrency": 2},
    "image-processing": {"concurrency": 2},
    "log-processing": {"concurrency": 2},
}
"""The queues there are without any configuration; slow ones are capped so that they cannot hold every thread."""


def _split(value: object) -> object:
    """Environment variables and flags carry lists as `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _without_attempts(queue: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Bull counts all attempts where this platform counts retries; its owner wants a pasted n to stay n."""
    if "attempts" not in given:
        return dict(given)
    log.warning("queues.%s.attempts is read as retries, the attempts after the first; write retries", queue)
    return {"retries": given["attempts"]} | {key: value for key, value in given.items() if key != "attempts"}


def _queue_name(name: str) -> str:
    if name in RESERVED_QUEUES:
        raise ValueError("is reserved by the REST interface; choose another queue name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError("a queue name is up to 64 letters, digits, dots, dashes and underscores")
    return name


QueueName = Annotated[str, AfterValidator(_queue_name)]
HostPort = Annotated[str, StringConstraints(pattern=r"^[^\s:,/@]+(:[0-9]{1,5})?$")]
CommaList = (NoDecode, BeforeValidator(_split))


class Section(BaseModel):
    """A part of the settings: unknown keys are refused, values never show in an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


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


def _xdg_folder(variable: str, fallback: str) -> Path:
    """Our folder below an XDG base folder, which by its specification counts only when absolute."""
    given = Path(os.environ.get(variable, ""))
    return (given if given.is_absolute() else Path.home() / fallback) / "cloudq-tui"


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
    data_dir: Path = Field(default_factory=lambda: _xdg_folder("XDG_DATA_HOME", ".local/share") / "redis")
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


def read_secret(key: str, path: Path | None) -> SecretStr | None:
    """The secret kept in a file (its last line end removed); None without a file.

    Raises SettingsError naming `key` when the file cannot be read or is empty.
    """
    if path is None:
        return None
    try:
        secret = path.expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(f"{key}: {path}: {reason}") from None
    if not secret:
        raise SettingsError(f"{key}: {path}: the file is empty")
    return SecretStr(secret)


class Limiter(Section):
    max: int = Field(default=100, ge=1)
    """Starts allowed in any window of `duration`."""
    duration: int = Field(default=1000, ge=1)
    """Length of the window, milliseconds."""


class RetentionSettings(Section):
    completed_age: int = Field(default=24 * 3600, ge=0)
    """Seconds a completed job stays readable; 0: no limit."""
    completed_count: int = Field(default=1000, ge=0)
    """Completed jobs kept; 0: no limit."""
    failed_age: int = Field(default=7 * 24 * 3600, ge=0)
    """Seconds a failed job stays readable; 0: no limit."""


class QueueAlerts(Section):
    """One queue's own thresholds; what is not set follows the section `alerts`."""

    enabled: bool = True
    """Whether alerts are raised."""
    waiting: int = Field(default=1000, ge=0)
    """Alert above so many waiting jobs in a queue."""
    failure_rate: float = Field(default=0.05, ge=0, le=1)
    """Alert above this share of failures in the last 15 minutes (0 to 1)."""
    duration_ms: int | None = Field(default=10_000, ge=0)
    """Alert above this mean duration, milliseconds; null: never."""
    oldest_waiting: float = Field(default=60.0, ge=0)
    """Alert when a job has waited longer than this, seconds."""


class AlertSettings(QueueAlerts):
    duration_queues: Annotated[tuple[str, ...], *CommaList] = ("email", "sms")
    """Queues whose jobs are meant to be short: duration_ms holds for them; others must set their own."""

    def for_queue(self, name: str, own: QueueAlerts) -> QueueAlerts:
        """The thresholds that hold for one queue; duration_ms is None where no duration alert applies."""
        general = self.model_dump(exclude={"duration_queues"})
        if name not in self.duration_queues:
            general["duration_ms"] = None
        return QueueAlerts(**general | own.model_dump(exclude_unset=True))


class QueueSettings(Section):
    concurrency: int = Field(default=0, ge=0)
    """Jobs of this queue active at one time, over all workers; 0: no limit."""
    per_worker: int = Field(default=0, ge=0)
    """Jobs of this queue active at one time in one worker process; 0: no limit of its own."""
    limiter: Limiter | None = Limiter()
    """Starts per window, over all workers; null: no limiter."""
    retries: int = Field(default=3, ge=0, le=1000)
    """Further attempts after the first failure."""
    backoff: Backoff = Backoff()
    """When a failed attempt is tried again: type (exponential, fixed), delay ms, first ms, factor, jitter."""
    retention: RetentionSettings = RetentionSettings()
    """How long finished jobs stay readable."""
    alerts: QueueAlerts = QueueAlerts()
    """Thresholds of this queue."""
    internal: bool = False
    """Housekeeping: left out of status and totals."""


class WorkerSettings(Section):
    task_path: str = Field(default="tasks.huey", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    """Dotted path of the Huey instance that the dashboard's own worker serves."""
    workers: int = Field(default=8, ge=1, le=1024)
    """Threads of the dashboard's own worker."""
    lease: float = Field(default=15.0, ge=2, le=3600)
    """Seconds a running job stays its worker's without a sign of life."""
    renew: float = Field(default_factory=lambda known: known.get("lease", 15.0) / 3, gt=0)
    """Seconds between signs of life; a third of the lease unless said, and always shorter than the lease."""
    sweep: float = Field(default=2.0, gt=0, le=60)
    """Seconds between searches for jobs whose lease ran out."""
    max_stalled: int = Field(default=3, ge=0)
    """How often a job may lose its worker before it fails as stalled."""
    queues: Annotated[tuple[QueueName, ...] | None, *CommaList] = None
    """Serve only these queues (CLOUDQ_QUEUES=email,sms); all of them unless said."""
    shutdown_grace: float = Field(default=10.0, ge=0)
    """Seconds running jobs may take to end when the dashboard quits; then they are interrupted."""
    limiter: Limiter | None = None
    """One limiter over all queues together, in addition to the queues' own."""

    @field_validator("renew")
    @classmethod
    def _within_lease(cls, renew: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease", renew + 1)
        if renew >= lease:
            raise ValueError(f"must be shorter than worker.lease ({lease:g} s)")
        return renew


class DashboardSettings(Section):
    refresh: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds between two looks at Redis."""
    profile: str = Field(default="", max_length=32)
    """Name of the environment looked at, such as production."""
    colour: str = Field(default="", pattern=r"^(|[a-z][a-z0-9_]*|#[0-9a-fA-F]{6})$")
    """Colour of the profile's badge: a colour's name or #rrggbb."""
    badge: str = Field(default="", max_length=12)
    """Text of the badge; the profile's name unless said."""
    read_only: bool = False
    """Refuse every write of this process."""
    confirm_threshold: int = Field(default=100, ge=0)
    """Above so many jobs an act asks to type the queue's name."""


class ApiSettings(Section):
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=30001, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""


def host_timezone() -> str:
    """The IANA name of this host's zone; UTC when the host does not say."""
    link = Path("/etc/localtime")
    for name in (os.environ.get("TZ", "").removeprefix(":"), str(link.resolve()).partition("/zoneinfo/")[2]):
        if name and _is_zone(name):
            return name
    return "UTC"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


class LayeredSettings(BaseSettings):
    """Root of a settings tree that `load_settings_as` can fill. Sections it does not know are another's."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        env_prefix="CLOUDQ_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        env_parse_none_str="null",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller gives: the loader has already read and weighed the other sources."""
        return (init_settings,)


class Settings(LayeredSettings):
    """Everything the product itself can be told."""

    redis: RedisSettings = Field(default_factory=RedisSettings)
    """Which Redis."""
    queues: dict[QueueName, QueueSettings] = Field(default_factory=dict)
    """The queues. The eight of the platform are always there (`name: false` drops one); what is written for a
    queue changes only the keys it names."""
    worker: WorkerSettings = WorkerSettings()
    """Consumers: leases, and the dashboard's own worker."""
    dashboard: DashboardSettings = DashboardSettings()
    """The screen."""
    api: ApiSettings = ApiSettings()
    """The REST interface."""
    alerts: AlertSettings = AlertSettings()
    """Thresholds of all queues."""
    timezone: str = Field(default_factory=host_timezone)
    """IANA name of the zone that drives crontab, the nightly clean and what people see; the host's unless said."""
    dedupe_ttl: int = Field(default=24 * 3600, ge=1)
    """Seconds an id given by a producer is remembered at least, so that the same id is the same job."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if not _is_zone(name):
            raise ValueError("is not a known time zone (write an IANA name such as Europe/Berlin)")
        return name

    @field_validator("queues", mode="before")
    @classmethod
    def _over_platform(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        merged: dict[str, Any] = {name: dict(own) for name, own in PLATFORM_QUEUES.items()}
        for key, value in given.items():
            name = str(key)
            if value is False:
                merged.pop(name, None)
            elif isinstance(value, Mapping):
                merged[name] = merged.get(name, {}) | _without_attempts(name, value)
            else:
                merged[name] = merged.get(name, {}) if value is None else value
        return merged

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class _Layer(NamedTuple):
    """One source: its values, where they stand, and the variable behind a key if they are variables."""

    values: dict[str, Any]
    origin: str
    variables: Mapping[str, str | None] = {}

    def depth(self, location: Sequence[str]) -> int:
        """How many steps of `location` this source goes along with."""
        here: Any = self.values
        for depth, key in enumerate(location):
            if not isinstance(here, Mapping) or key not in here:
                return depth
            here = here[key]
        return len(location)

    def name(self, location: Sequence[str]) -> str:
        for end in range(len(location), 0, -1):
            ours = "CLOUDQ_" + "__".join(location[:end]).upper()
            for variable in (ours, ours.replace("-", "_"), _ALIASES.get(tuple(location[:end]), ours)):
                if variable.lower() in self.variables:
                    return f"{variable} in {self.origin}"
        return self.origin


_ALIASES: Mapping[tuple[str, ...], str] = {
    ("redis", "url"): "REDIS_URL",
    ("redis", "host"): "REDIS_HOST",
    ("redis", "port"): "REDIS_PORT",
    ("redis", "password"): "REDIS_PASSWORD",
    ("redis", "db"): "REDIS_QUEUE_DB",
    ("worker", "queues"): "CLOUDQ_QUEUES",
}
"""Variables with names of their own. CLOUDQ_REDIS__HOST, being more exact, wins over REDIS_HOST."""


class _Environment(EnvSettingsSource):
    """CLOUDQ_QUEUES is the list of queues to serve, so the mapping `queues` has nested variables only."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name == "queues":
            return None, field_name, True
        return super().get_field_value(field, field_name)


class _DotEnv(_Environment, DotEnvSettingsSource):
    pass


T = TypeVar("T", bound=LayeredSettings)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """The core settings from every source.

    `config` names the YAML file and must exist; `overrides` are the flags, one mapping per section
    (`redis={"embedded": "always"}`), in which None means not given.

    Raises SettingsError, one line: the key, its problem, and the file or variable it stands in.
    """
    return load_settings_as(Settings, config, **overrides)


def load_settings_as(model: type[T], config: Path | None = None, **overrides: Any) -> T:
    """As `load_settings`, for a tree with further or other sections."""
    dotenv = _variables(_DotEnv(model, env_file=".env", dotenv_filtering="only_existing"), ".env")
    environment = _variables(_Environment(model), "the environment")
    named = config or environment.variables.get("cloudq_config") or dotenv.variables.get("cloudq_config")
    layers = [_read_yaml(model, _find_config(named)), dotenv, environment, _Layer(_given(overrides), "the flags")]
    values: dict[str, Any] = {}
    for layer in layers:
        values = _merge(_without_rivals(values, layer.values), _dashed(layer.values, values))
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError(_one_line(error, layers)) from None


def _variables(source: EnvSettingsSource, origin: str) -> _Layer:
    try:
        values = source()
    except SourceError as error:
        raise SettingsError(f"{error} (expected JSON)") from None
    for (section, key), variable in _ALIASES.items():
        text = source.env_vars.get(variable.lower())
        if text is not None and section in source.settings_cls.model_fields:
            values[section] = {key: text} | values.get(section, {})
    return _Layer(values, origin, source.env_vars)


def _find_config(named: Path | str | None) -> Path | None:
    """The YAML file to read: the one named, which must exist, else ./config.yaml, else the user's own."""
    if named is not None:
        return Path(named).expanduser()
    places = (Path("config.yaml"), _xdg_folder("XDG_CONFIG_HOME", ".config") / "config.yaml")
    return next((path for path in places if path.is_file()), None)


def _read_yaml(model: type[LayeredSettings], path: Path | None) -> _Layer:
    if path is None:
        return _Layer({}, "")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{path}: not valid YAML{where}") from None
    if not isinstance(values, dict | None):
        raise SettingsError(f"{path}: the file must hold sections, such as `redis:`")
    values = {str(key): value for key, value in (values or {}).items() if value is not None}
    for key in _secrets(model, values):
        raise SettingsError(f"{'.'.join(key)}: a secret belongs in the environment or a file of its own ({path})")
    return _Layer(values, str(path))


def _secrets(kind: Any, value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys in a file whose value is secret by its field's type; a URL without a password is not."""
    if kind is SecretStr and value is not None:
        parts = urlsplit(str(value)) if "://" in str(value) else None
        if parts is None or parts.password is not None:
            yield path
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
        for name, field in kind.model_fields.items():
            yield from _secrets(field.annotation, value.get(field.alias or name, value.get(name)), (*path, name))
    elif get_origin(kind) is dict and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _secrets(get_args(kind)[1], item, (*path, str(name)))
    else:
        for part in get_args(kind):
            yield from _secrets(part, value, path)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the flags that were not given."""
    inner = {key: _given(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in inner.items() if value is not None}


def _dashed(values: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A shell cannot name device-operation in a variable: DEVICE_OPERATION stands for it."""
    names = {*PLATFORM_QUEUES, *known.get("queues", {})}
    dashed = {name.replace("-", "_"): name for name in names}
    queues = values.get("queues")
    if not isinstance(queues, Mapping):
        return values
    renamed = {name if name in names else dashed.get(name, name): value for name, value in queues.items()}
    return values | {"queues": renamed}


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`, mapping by mapping."""
    merged = dict(lower)
    for key, value in upper.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _without_rivals(lower: dict[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """A source that names a server replaces the server of the sources below it, also when it is named otherwise."""
    rivals = {"url", "host", "socket", "sentinel"}
    below, above = lower.get("redis"), upper.get("redis")
    if not isinstance(below, Mapping) or not isinstance(above, Mapping) or rivals.isdisjoint(above):
        return lower
    return lower | {"redis": {key: value for key, value in below.items() if key not in rivals}}


def _one_line(error: ValidationError, layers: Sequence[_Layer]) -> str:
    """The first problem, told without the value, which may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    location = [str(part) for part in first["loc"] if part != "[key]"]
    source = max(reversed(layers), key=lambda layer: layer.depth(location))
    origin = f" ({source.name(location)})" if source.depth(location) else ""
    problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(location)}: {problem[:1].lower()}{problem[1:]}{origin}"

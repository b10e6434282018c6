"""Reads the sources in their order and tells a wrong setting in one line.

defaults < YAML file < .env < environment < flags
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from cloudq_tui.errors import SettingsError
from cloudq_tui.settings.section import SecretUrl, xdg_folder
from cloudq_tui.settings.sections import PLATFORM_QUEUES
from cloudq_tui.settings.tree import LayeredSettings, Settings

log = logging.getLogger(__name__)


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

    def sections(self) -> Iterator[tuple[str, bool, str]]:
        """Each section named: its key, whether it can only be meant as one, and where it stands.

        A variable without levels may be anybody's: CLOUDQ_CONFIG is no setting.
        """
        if not self.variables:
            yield from ((key, True, self.origin) for key in self.values)
        for variable in self.variables:
            if variable.lower().startswith("cloudq_"):
                key, levels, _ = variable.lower().removeprefix("cloudq_").partition("__")
                yield key, bool(levels), f"{variable.upper()} in {self.origin}"


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


def load_settings_as(
    model: type[T], config: Path | None = None, *, beside: type[LayeredSettings] | None = None, **overrides: Any
) -> T:
    """As `load_settings`, for a tree with further or other sections.

    `beside` is the tree that owns all other sections of the file: given it, a section that neither has is refused.
    """
    dotenv = _variables(_DotEnv(model, env_file=".env", dotenv_filtering="only_existing"), ".env")
    environment = _variables(_Environment(model), "the environment")
    named = config or environment.variables.get("cloudq_config") or dotenv.variables.get("cloudq_config")
    file = _read_yaml(model, _find_config(named))
    layers = [file, dotenv, environment, _Layer(_given(overrides), "the flags")]
    _check_sections(layers, model, beside)
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
        field = re.search(r'field "(\w+)"', str(error))
        name = field[1] if field else "a variable"
        variable = f"CLOUDQ_{name}".upper()
        raise SettingsError(f"{name}: must be JSON, or one {variable}__KEY per key ({variable} in {origin})") from None
    for (section, key), variable in _ALIASES.items():
        text = source.env_vars.get(variable.lower())
        if text is not None and section in source.settings_cls.model_fields:
            values[section] = {key: text} | values.get(section, {})
    return _Layer(values, origin, source.env_vars)


def _find_config(named: Path | str | None) -> Path | None:
    """The YAML file to read: the one named, which must exist, else ./config.yaml, else the user's own."""
    if named is not None:
        return Path(named).expanduser()
    places = (Path("config.yaml"), xdg_folder("XDG_CONFIG_HOME", ".config") / "config.yaml")
    return next((path for path in places if path.is_file()), None)


def _read_yaml(model: type[LayeredSettings], path: Path | None) -> _Layer:
    if path is None:
        return _Layer({}, "")
    try:
        values = _named(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{path}: not valid YAML{where}") from None
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply") from None
    if not isinstance(values, dict | None):
        raise SettingsError(f"{path}: the file must hold sections, such as `redis:`")
    values = {key: value for key, value in (values or {}).items() if value is not None}
    for key in _secrets(model, values):
        raise SettingsError(f"{'.'.join(key)}: a secret belongs in the environment or a file of its own ({path})")
    return _Layer(values, str(path))


def _named(value: Any) -> Any:
    """With the keys as text that YAML takes for numbers, dates or true."""
    return {str(key): _named(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _check_sections(
    layers: Sequence[_Layer], model: type[LayeredSettings], beside: type[LayeredSettings] | None
) -> None:
    """Refuse what nobody reads; where other sections are another's, what looks like one of ours misspelt."""
    known = [*model.model_fields, *(beside.model_fields if beside else ())]
    for key, certain, place in (one for layer in layers for one in layer.sections()):
        # CLOUDQ_DASHBOARD_PORT is what an orchestrator tells of a service named cloudq-dashboard.
        if key in known or (not certain and key.startswith(tuple(f"{name}_" for name in known))):
            continue
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        if close or (certain and beside is not None):
            meant = f"; {close[0]} is one" if close else ""
            raise SettingsError(f"{key}: unknown key{meant} ({place})")


def _secrets(kind: Any, value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys in a file whose value is secret by its field's type; a plain URL without a password is not."""
    if kind in {SecretStr, SecretUrl} and value is not None:
        if kind is SecretUrl or "://" not in str(value) or _holds_password(str(value)):
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


def _holds_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:  # no URL at all, which its own check says
        return "@" in url


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the flags that were not given."""
    inner = {key: _given(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in inner.items() if value is not None}


def _dashed(values: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A shell cannot name device-operation in a variable: DEVICE_OPERATION stands for it."""
    queues, below = values.get("queues"), known.get("queues")
    if not isinstance(queues, Mapping):
        return values
    names = {*PLATFORM_QUEUES, *(below if isinstance(below, Mapping) else ())}
    dashed = {name.replace("-", "_"): name for name in names}
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

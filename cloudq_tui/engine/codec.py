"""Tagged JSON: how calls, results and errors lie in Redis. May import the models' errors only.

Plain JSON stays plain, so that another language can read and write it. What JSON has no form for becomes an
object with the key `~`: `{"~": "tuple", "v": [1, 2]}`. A caller's own dict that holds that key travels as
pairs, so no data can pretend to be a tag. Nothing is imported by a name found in the data: an Enum comes back
as its value and a dataclass or model as a dict (the worker rebuilds them from the task's annotations), an
exception as a stand-in of the same class name. Never pickle: who can write to Redis must not run code in a
worker.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import math
import uuid
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from cloudq_tui.errors import InvalidPayload, UnreadableJob

TAG = "~"
T = TypeVar("T")
# Readers elsewhere keep 64 bits, and Python refuses to parse more than 4300 digits: larger ones go as hex.
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False).encode


class RemoteError(Exception):
    """Stands in for an exception raised elsewhere: same class name, `repr`, `str` and `args`."""

    __cloudq_repr__ = ""
    __cloudq_text__ = ""

    def __repr__(self) -> str:
        return self.__cloudq_repr__

    def __str__(self) -> str:
        return self.__cloudq_text__


@dataclass(frozen=True, slots=True)
class Opaque:
    """A tag this process does not know (its owner registers it with `register`); it travels on unchanged."""

    tag: str
    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was enqueued. `extras` is what the client library keeps beside it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    extras: dict[str, Any] = field(default_factory=dict)


class _Refused(Exception):
    """A value has no form; the path to it is gathered while the walk unwinds."""

    def __init__(self, reason: str) -> None:
        self.path: list[str] = []
        super().__init__(reason)


# --- value -> plain JSON ---------------------------------------------------------------------------


def _walk(value: Any) -> Any:
    """`value` as what the JSON encoder takes; raises _Refused."""
    form = _FORMS.get(type(value))
    return form(value) if form is not None else _other(value)


def _same(value: Any) -> Any:
    return value


def _int(value: int) -> Any:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    return {TAG: "int", "v": hex(value)}


def _float(value: float) -> Any:
    return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}


def _items(values: Any) -> list[Any]:
    plain: list[Any] = []
    try:
        for value in values:
            plain.append(_walk(value))  # noqa: PERF401 - the refusal needs to know how far the walk came
    except _Refused as refused:
        refused.path.append(f"[{len(plain)}]")
        raise
    return plain


def _dict(value: Mapping[Any, Any]) -> Any:
    plain: dict[str, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str or key == TAG:
                break
            plain[key] = _walk(item)
        else:
            return plain
    except _Refused as refused:
        refused.path.append(f".{key}")
        raise
    return _pairs(value)


def _pairs(value: Mapping[Any, Any]) -> dict[str, Any]:
    pairs: list[Any] = []
    keys = _hashables(list(value))
    key: Any = None
    try:
        for plain_key, (key, item) in zip(keys, value.items(), strict=True):  # noqa: B007 - named in a refusal
            pairs.append([plain_key, _walk(item)])
    except _Refused as refused:
        refused.path.append(f"[{key!r}]")
        raise
    return {TAG: "dict", "v": pairs}


def _hashables(values: Any) -> list[Any]:
    """Members of a set or keys of a dict: what comes back as a dict or list could not be one again."""
    plain = _items(values)
    for value, form in zip(values, plain, strict=True):
        if not _comes_back_hashable(form):
            raise _Refused(f"{type(value).__qualname__} in a set or as a dict key comes back unhashable")
    return plain


def _comes_back_hashable(form: Any) -> bool:
    if not isinstance(form, dict):
        return not isinstance(form, list)
    match form.get(TAG):
        case None | "dict" | "set":
            return False
        case "tuple" | "frozenset":
            return all(_comes_back_hashable(item) for item in form["v"])
        case "enum":
            return _comes_back_hashable(form["v"])
    return True


def _datetime(value: dt.datetime) -> dict[str, Any]:
    return _zoned("datetime", value.isoformat(), value)


def _time(value: dt.time) -> dict[str, Any]:
    return _zoned("time", value.isoformat(), value)


def _zoned(tag: str, text: str, value: dt.datetime | dt.time) -> dict[str, Any]:
    """The zone's name and the fold travel too: an offset alone is wrong after the next change of clocks."""
    plain: dict[str, Any] = {TAG: tag, "v": text}
    if isinstance(value.tzinfo, zoneinfo.ZoneInfo) and value.tzinfo.key:
        plain["z"] = value.tzinfo.key
    if value.fold:
        plain["f"] = 1
    return plain


def _error(value: BaseException) -> dict[str, Any]:
    args: list[Any] = []
    for arg in value.args:
        try:
            args.append(_walk(arg))
        except _Refused:  # an error must always be tellable, whatever was put into it
            args.append(_safe(repr, arg))
    return {
        TAG: "error",
        "n": type(value).__name__,
        "v": args,
        "r": _safe(repr, value),
        "s": _safe(str, value),
    }


def _safe(show: Callable[[object], str], value: object) -> str:
    try:
        return str(show(value))
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the error it belongs to
        return f"<{type(value).__name__}>"


def _fields(value: Any) -> Any:
    """A dataclass or model as a dict of its fields."""
    if isinstance(value, BaseModel):
        return _dict({name: getattr(value, name) for name in type(value).model_fields} | (value.model_extra or {}))
    return _dict({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})


def _other(value: Any) -> Any:
    """Whatever is not one of the exact types: Enums, data classes, errors, subclasses of the plain types."""
    if isinstance(value, enum.Enum):
        return {TAG: "enum", "v": _walk(value.value), "n": f"{type(value).__name__}.{value.name}"}
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _fields(value)
    if isinstance(value, BaseException):
        return _error(value)
    for known in type(value).__mro__[1:-1]:
        form = _FORMS.get(known)
        if form is not None:
            return form(_BASES[known](value) if known in _BASES else value)
    raise _Refused(f"{type(value).__module__}.{type(value).__qualname__} cannot be stored as job data")


_BASES: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int,
    float: float.__float__,
}

_FORMS: dict[type, Callable[[Any], Any]] = {
    type(None): _same,
    bool: _same,
    str: _same,
    int: _int,
    float: _float,
    list: _items,
    dict: _dict,
    tuple: lambda value: {TAG: "tuple", "v": _items(value)},
    set: lambda value: {TAG: "set", "v": _hashables(value)},
    frozenset: lambda value: {TAG: "frozenset", "v": _hashables(value)},
    bytes: lambda value: {TAG: "bytes", "v": base64.b64encode(value).decode("ascii")},
    dt.datetime: _datetime,
    dt.date: lambda value: {TAG: "date", "v": value.isoformat()},
    dt.time: _time,
    dt.timedelta: lambda value: {TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]},
    decimal.Decimal: lambda value: {TAG: "decimal", "v": str(value)},
    uuid.UUID: lambda value: {TAG: "uuid", "v": str(value)},
    Opaque: lambda value: {TAG: value.tag, "v": _walk(value.value)},
}


# --- plain JSON -> value ---------------------------------------------------------------------------


def _read_zoned(kind: type[dt.datetime | dt.time], plain: dict[str, Any]) -> Any:
    value = kind.fromisoformat(plain["v"])
    if "z" in plain:
        with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError):  # the offset still names the same moment
            value = value.replace(tzinfo=zoneinfo.ZoneInfo(plain["z"]))
    return value.replace(fold=1) if plain.get("f") else value


@functools.lru_cache(maxsize=256)
def _error_class(name: str) -> type[RemoteError]:
    return type(name, (RemoteError,), {"__module__": __name__})


def _read_error(plain: dict[str, Any]) -> RemoteError:
    error = _error_class(plain["n"])(*plain["v"])
    error.__cloudq_repr__ = plain["r"]
    error.__cloudq_text__ = plain["s"]
    return error


_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "int": lambda plain: int(plain["v"], 16),
    "float": lambda plain: float(plain["v"]),
    "dict": lambda plain: {key: value for key, value in plain["v"]},  # noqa: C416 - refuses what is not a pair
    "tuple": lambda plain: tuple(plain["v"]),
    "set": lambda plain: set(plain["v"]),
    "frozenset": lambda plain: frozenset(plain["v"]),
    "bytes": lambda plain: base64.b64decode(plain["v"], validate=True),
    "datetime": functools.partial(_read_zoned, dt.datetime),
    "date": lambda plain: dt.date.fromisoformat(plain["v"]),
    "time": functools.partial(_read_zoned, dt.time),
    "timedelta": lambda plain: dt.timedelta(*plain["v"]),
    "decimal": lambda plain: decimal.Decimal(plain["v"]),
    "uuid": lambda plain: uuid.UUID(plain["v"]),
    "enum": lambda plain: plain["v"],
    "error": _read_error,
}


def _read_tag(plain: dict[str, Any]) -> Any:
    if TAG not in plain:
        return plain
    reader = _READERS.get(plain[TAG])
    return reader(plain) if reader is not None else Opaque(str(plain[TAG]), plain.get("v"))


def register(tag: str, kind: type[T], write: Callable[[T], Any], read: Callable[[Any], T]) -> None:
    """Let `kind` travel under `tag`: for the client library's own types, which the engine may not import.

    A process that has not registered the tag sees an `Opaque` and passes it on as it is.
    """
    _FORMS[kind] = lambda value: {TAG: tag, "v": _walk(write(value))}
    _READERS[tag] = lambda plain: read(plain["v"])


# --- the public functions --------------------------------------------------------------------------


def _dumps(value: Any, root: str) -> bytes:
    try:
        return _to_json(_walk(value)).encode("utf-8", "surrogatepass")
    except _Refused as refused:
        path = root + "".join(reversed(refused.path))
        raise InvalidPayload(path.lstrip(".") or "value", str(refused)) from None
    except RecursionError:
        raise InvalidPayload(root or "value", "nested too deeply, or contains itself") from None


def encode(value: Any) -> bytes:
    """`value` as tagged JSON. Raises InvalidPayload with the path to, and the type of, what has no form."""
    return _dumps(value, "value")


def decode(data: bytes) -> Any:
    """The value that was encoded. Raises UnreadableJob."""
    try:
        text = data.decode("utf-8", "surrogatepass")
        return json.loads(text, object_hook=_read_tag) if f'"{TAG}"' in text else json.loads(text)
    except RecursionError:
        raise UnreadableJob("the stored data is nested too deeply") from None
    except Exception as error:
        # Whoever can write to Redis chooses these bytes, so any reader above may be handed nonsense.
        raise UnreadableJob(f"the stored data cannot be decoded: {type(error).__name__}: {error}") from error


def pack_call(args: Sequence[Any], kwargs: Mapping[str, Any], extras: Mapping[str, Any] | None = None) -> bytes:
    """A call as the message of a job: `[args]`, `[args, kwargs]` or `[args, kwargs, extras]`.

    Raises InvalidPayload whose field is a path such as `args[0].x` or `kwargs.limit`.
    """
    parts: list[tuple[str, object]] = [("args", list(args))]
    if kwargs or extras:
        parts.append(("kwargs", dict(kwargs)))
    if extras:
        parts.append(("extras", dict(extras)))
    return b"[%b]" % b",".join(_dumps(part, name) for name, part in parts)


def unpack_call(data: bytes) -> Call:
    """The call a message holds; `args` is always a tuple. Raises UnreadableJob."""
    match decode(data):
        case [list() as args]:
            return Call(tuple(args), {})
        case [list() as args, dict() as kwargs]:
            return Call(tuple(args), kwargs)
        case [list() as args, dict() as kwargs, dict() as extras]:
            return Call(tuple(args), kwargs, extras)
    raise UnreadableJob("the stored data is not a call: expected [args, kwargs, extras]")


def visible_data(call: Call) -> Any:
    """What people see of a call: the payload when it is one dict alone, else its args and kwargs."""
    if not call.kwargs and len(call.args) == 1 and isinstance(call.args[0], dict):
        return call.args[0]
    return {"args": list(call.args), "kwargs": call.kwargs}


def to_plain(value: Any) -> Any:
    """`value` as strict JSON data for showing; what has no JSON form becomes the text of it."""
    for kinds, show in _SHOWN:
        if isinstance(value, kinds):
            return show(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    return _safe(str, value)


def _plain_dict(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {key if isinstance(key, str) else str(to_plain(key)): to_plain(item) for key, item in value.items()}


_SHOWN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (enum.Enum, lambda value: to_plain(value.value)),
    ((str, bool, type(None), int), _same),
    (float, lambda value: value if math.isfinite(value) else str(value)),
    (Mapping, _plain_dict),
    ((list, tuple, set, frozenset), lambda value: [to_plain(item) for item in value]),
    (bytes, lambda value: value.decode("utf-8", "backslashreplace")),
    ((dt.date, dt.time), lambda value: value.isoformat()),
    (BaseException, lambda value: _safe(repr, value)),
    (Opaque, lambda value: {value.tag: to_plain(value.value)}),
    (BaseModel, lambda value: to_plain(dict(value))),
)

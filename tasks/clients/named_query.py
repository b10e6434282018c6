"""A query as the settings name it, and the values a payload may bind to it.

Imports no database library: who only enqueues checks the values too.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudq_tui.errors import InvalidPayload


@dataclass(frozen=True, slots=True)
class QueryParam:
    """One bound parameter: its type, whether a list, and what stands in for an absent one."""

    type: str = "string"
    many: bool = False
    required: bool = True
    default: Any = None


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """SQL that a person wrote into the settings, with the parameters it declares."""

    sql: str
    params: Mapping[str, QueryParam] = field(default_factory=dict)
    count: bool = False
    estimate: int | None = None

    def bind(self, given: Mapping[str, Any] | None, *, job: str = "") -> dict[str, Any]:
        """The values to bind, as the database's types. Raises InvalidPayload naming the wrong one."""
        given = given or {}
        if unknown := sorted(set(given) - set(self.params)):
            declared = ", ".join(self.params) or "none"
            raise InvalidPayload(f"params.{unknown[0]}", f"is not declared by the query ({declared})", job=job)
        return {name: _value(name, param, given, job) for name, param in self.params.items()}


def _value(name: str, param: QueryParam, given: Mapping[str, Any], job: str) -> Any:
    value = given.get(name)
    if value is None:
        value = param.default
    field_name = f"params.{name}"
    if value is None:
        if param.required:
            raise InvalidPayload(field_name, f"is required ({_wanted(param)})", job=job)
        return [] if param.many else None
    try:
        if not param.many:
            return _READERS[param.type](value)
        items = value if isinstance(value, list) else [value]
        return [_READERS[param.type](item) for item in items]
    except (ValueError, TypeError, OverflowError, decimal.DecimalException):
        raise InvalidPayload(field_name, f"must be {_wanted(param)}", job=job) from None


def _wanted(param: QueryParam) -> str:
    return f"a list of {param.type} values" if param.many else _WORDS[param.type]


_WORDS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "decimal": "a decimal number",
    "boolean": "true or false",
    "date": "a date such as 2025-10-21",
    "datetime": "a time such as 2025-10-21T10:30:00+08:00",
}


def _string(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _integer(value: Any) -> int:
    # Beyond 64 bits every driver has an error of its own.
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    found = decimal.Decimal(str(value))
    if not found.is_finite():
        raise ValueError
    return found


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _date(value: Any) -> dt.date:
    return dt.date.fromisoformat(_string(value))


def _datetime(value: Any) -> dt.datetime:
    return dt.datetime.fromisoformat(_string(value))


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
}

"""Rebuilds dataclasses, Enums, models and named tuples from plain data by the annotations of a task's function.

The class comes from the code that runs here, never from a name in the data. An annotation that names no such class
is left alone: Huey never converted an argument because of its annotation, and neither does this.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from cloudq_tui.errors import UnreadableJob


class Rebuilder:
    """The rebuilding of one function's arguments; reads the annotations once, when first needed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._adapters: dict[str, TypeAdapter[Any]] | None = None
        self._positional: list[str] = []
        self._rest = ""

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the function's annotations want them. Raises UnreadableJob naming what does not fit."""
        if self._adapters is None:
            self._adapters = self._read_annotations()
        if not self._adapters:
            return args, kwargs
        names = self._positional + [self._rest] * (len(args) - len(self._positional))
        rebuilt = tuple(self._one(name, value) for name, value in zip(names, args, strict=False))
        return rebuilt, {name: self._one(name, value) for name, value in kwargs.items()}

    def _one(self, name: str, value: Any) -> Any:
        adapter = self._adapters.get(name) if self._adapters else None
        if adapter is None or value is None:
            return value
        try:
            return adapter.validate_python(value, by_alias=True, by_name=True)
        except ValidationError as error:
            raise UnreadableJob(describe(error, name)) from None

    def _read_annotations(self) -> dict[str, TypeAdapter[Any]]:
        try:
            hints = typing.get_type_hints(self._function, include_extras=True)
            parameters = inspect.signature(self._function).parameters.values()
        except Exception:  # noqa: BLE001 - annotations may name anything, even what exists only for type checkers
            return {}
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self._positional.append(parameter.name)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = parameter.name
        adapters = {}
        for name, hint in hints.items():
            if name != "return" and _names_a_class(hint):
                try:
                    adapters[name] = TypeAdapter(hint)
                except Exception:  # noqa: BLE001, S112 - a class pydantic cannot build stays plain data
                    continue
        return adapters


def _names_a_class(hint: Any) -> bool:
    if isinstance(hint, type) and not typing.get_origin(hint):
        return (
            issubclass(hint, BaseModel | enum.Enum)
            or dataclasses.is_dataclass(hint)
            or (issubclass(hint, tuple) and hasattr(hint, "_fields"))
        )
    return any(_names_a_class(part) for part in typing.get_args(hint))


def validated(model: type[BaseModel], data: Any, job: str) -> BaseModel:
    """`data` as `model`. Raises UnreadableJob with the field and the reason."""
    try:
        return model.model_validate(data, by_alias=True, by_name=True)
    except ValidationError as error:
        raise UnreadableJob(f"{job}: {describe(error)}") from None


def describe(error: ValidationError, root: str = "") -> str:
    """The first fault of a validation as `field: reason`."""
    first: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in (root, *first["loc"]) if part != "")
    return f"{where or 'payload'}: {first['msg']}"

"""What the payloads of all queues share, and the one way to check and store them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from cloudq_tui.errors import InvalidPayload
from tasks.contacts import writable

M = TypeVar("M", bound=BaseModel)

MAX_BATCH = 1000
"""Most items of one batch job, and most numbers or targets of all of them; `QueueService` splits longer lists."""


class Payload(BaseModel):
    """What every payload has in common. `use_attribute_docstrings` puts the docs into the JSON schema."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def plain_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def one_or_many(value: object) -> str:
    return "many" if isinstance(value, list | tuple) else "one"


# What pydantic adds to an error's path for a union: no field of ours.
_SHAPES = frozenset({"one", "many"})
_SCALARS = frozenset({"str", "int", "float"})

Text = Annotated[str, AfterValidator(writable)]


def as_list(value: str | list[str] | None) -> list[str]:
    """One, many or none as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def within_batch(count: int, what: str) -> None:
    """Raises ValueError for more than one job can keep account of, one by one."""
    if count > MAX_BATCH:
        raise ValueError(f"has {count} {what} in all, at most {MAX_BATCH} are allowed: use several jobs")


def parse_payload(model: type[M], data: object, *, job: str = "", prefix: str = "") -> M:
    """Check `data` against `model`.

    Raises InvalidPayload naming the first wrong field (a dotted path under `prefix`) and why; the value
    itself is never repeated, since it may be an address, a number or a code.
    """
    if isinstance(data, model):
        return data
    if isinstance(data, BaseModel):
        data = data.model_dump(by_alias=True, exclude_none=True)
    if not isinstance(data, Mapping):
        raise InvalidPayload(prefix or "payload", "must be an object with named fields", job=job)
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        parts = [str(part) for part in first["loc"] if part not in _SHAPES]
        parts = [part for part in parts if not part.startswith("function-")]
        if len(parts) > 1 and parts[-1] in _SCALARS:
            parts.pop()
        field = ".".join([prefix, *parts] if prefix else parts) or "payload"
        reason = "is not a field of this job" if first["type"] == "extra_forbidden" else first["msg"]
        raise InvalidPayload(field, reason.removeprefix("Value error, "), job=job) from None


def dump_payload(payload: BaseModel) -> dict[str, Any]:
    """The payload as it is stored: plain JSON data, camelCase, absent fields left out."""
    return payload.model_dump(mode="json", by_alias=True, exclude_none=True)

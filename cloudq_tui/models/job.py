"""A job as readers see it, and the options it is enqueued with."""

from __future__ import annotations

import enum
import math
import random
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cloudq_tui.errors import InvalidOptions


def new_job_id() -> str:
    """96 random bits in hex: two of a billion jobs are never alike. An id is part of up to nine keys and of the job's
    events; with 24 letters each key takes 48 bytes of Redis, where a UUID's 32 would take 64."""
    return secrets.token_hex(12)


class JobState(enum.StrEnum):
    """Bull's states. `PAUSED` is never stored: it is the backlog of a paused queue."""

    WAITING = "waiting"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    DELAYED = "delayed"
    PAUSED = "paused"


class JobPriority(enum.IntEnum):
    """Smaller starts first."""

    CRITICAL = 1
    HIGH = 3
    NORMAL = 5
    LOW = 7
    BACKGROUND = 10


class JobDelay(enum.Enum):
    """Named delays; the value is a duration."""

    IMMEDIATE = timedelta(0)
    SHORT = timedelta(seconds=5)
    MEDIUM = timedelta(seconds=30)
    LONG = timedelta(minutes=5)
    VERY_LONG = timedelta(minutes=30)


MIN_RANK, MAX_RANK = -1000, 1000
MAX_PAYLOAD = 1024 * 1024
"""Bytes a job's stored call may take unless the settings say otherwise."""


class _Wire(BaseModel):
    """camelCase on the wire, snake_case in Python, both accepted, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )


class Backoff(_Wire):
    """When a failed attempt is tried again.

    After failure n (counted from 1) the job waits `first` ms for n = 1, else `delay` x 2^(n-2) ms
    (`exponential`) or `delay` ms (`fixed`); `jitter` spreads that by up to the given share.
    """

    type: Literal["exponential", "fixed"] = "exponential"
    delay: int = Field(default=2000, ge=0, le=2**53, description="milliseconds")
    first: int = Field(default=0, ge=0, le=2**53, description="milliseconds before the first retry")
    factor: float = Field(default=2.0, ge=1.0)
    jitter: float = Field(default=0.0, ge=0.0, le=1.0)

    def wait(self, failures: int) -> int:
        """Milliseconds to wait after the `failures`-th failure (1 is the first)."""
        if failures <= 1:
            base = float(self.first)
        elif self.type == "fixed":
            base = float(self.delay)
        else:
            growth = (failures - 2) * math.log(self.factor)
            base = self.delay * math.exp(min(growth, 500))  # a power would end beyond what a float can hold
        if self.jitter:
            base *= 1 + random.uniform(-self.jitter, self.jitter)  # noqa: S311 - spreads load, guards nothing
        return round(min(base, 7 * 24 * 3600 * 1000))


class KeepFinished(_Wire):
    """How long (`age`, seconds) and how many (`count`) finished jobs stay readable."""

    age: int | None = Field(default=None, ge=0)
    count: int | None = Field(default=None, ge=0)


_LONGEST = timedelta(days=3650)
_SHAPES = frozenset({"bool", "KeepFinished"})  # what pydantic adds to the path of a union: no field of ours


class JobOptions(_Wire):
    """What may travel with a payload. In Python durations are seconds or timedelta; on the wire, ms.

    Raises InvalidOptions naming the field, however it is made.
    """

    priority: int | None = Field(default=None, ge=MIN_RANK, le=MAX_RANK)
    delay: timedelta = timedelta(0)
    retries: int | None = Field(default=None, ge=0, le=1000)
    backoff: Backoff | None = None
    timeout: timedelta | None = None
    job_id: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:@-]+$")
    remove_on_complete: bool | KeepFinished | None = None
    remove_on_fail: bool | KeepFinished | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _told_in_one_line(cls, data: Any, build: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return build(data)
        except ValidationError as error:
            # The deepest: of a union's shapes the one that the value was meant to have.
            worst = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
            where = ".".join(str(part) for part in ("options", *worst["loc"]) if part not in _SHAPES)
            problem = "unknown option" if worst["type"] == "extra_forbidden" else worst["msg"]
            problem = problem.removeprefix("Value error, ")
            raise InvalidOptions(f"{where}: {problem[:1].lower()}{problem[1:]}") from None

    @field_validator("priority", "delay", "retries", "timeout", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool):
            # pydantic takes them for 1 and 0, and collects no TypeError.
            raise ValueError("must not be true or false")  # noqa: TRY004
        return value

    @field_validator("priority", mode="before")
    @classmethod
    def _named_priority(cls, value: object) -> object:
        if not isinstance(value, str) or re.fullmatch(r"-?[0-9]+", value):
            return value
        if value.upper() not in JobPriority.__members__:
            raise ValueError(f"must be {', '.join(JobPriority.__members__)}, or a number")
        return int(JobPriority[value.upper()])

    @field_validator("delay", mode="before")
    @classmethod
    def _named_delay(cls, value: object) -> object:
        return value.value if isinstance(value, JobDelay) else value

    @field_validator("delay", "timeout")
    @classmethod
    def _sensible(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and not timedelta(0) <= value <= _LONGEST:
            raise ValueError("must not be negative" if value < timedelta(0) else "must be ten years at most")
        return value

    @property
    def delay_ms(self) -> int:
        return round(self.delay.total_seconds() * 1000)

    @property
    def timeout_ms(self) -> int | None:
        return None if self.timeout is None else round(self.timeout.total_seconds() * 1000)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        """Read options as JSON carries them: delay and timeout in milliseconds.

        A pasted Bull `attempts: n` is read as n retries (this platform counts retries).

        Raises InvalidOptions naming the field.
        """
        plain = dict(data)
        if "attempts" in plain:
            plain.setdefault("retries", plain.pop("attempts"))
        for name in ("delay", "timeout"):
            if isinstance(plain.get(name), int | float) and not isinstance(plain[name], bool):
                plain[name] = _span(plain[name], f"options.{name}")
        return cls.model_validate(plain)

    def to_wire(self) -> dict[str, Any]:
        """The options as JSON, durations in milliseconds, unset fields left out."""
        wire = self.model_dump(by_alias=True, exclude_none=True, exclude={"delay", "timeout"})
        if self.delay_ms:
            wire["delay"] = self.delay_ms
        if self.timeout_ms is not None:
            wire["timeout"] = self.timeout_ms
        return wire


def _span(milliseconds: float, field: str) -> timedelta:
    try:
        return timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        raise InvalidOptions(f"{field}: must be a number of milliseconds, ten years at most") from None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed, stalled or interrupted run of a job. Times in epoch ms."""

    number: int
    outcome: str
    error: str
    traceback: str = ""
    started: int | None = None
    finished: int | None = None
    worker: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a processor wrote: epoch ms and text."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job. In lists `data`, `options`, `result`, `attempts` and `logs` are empty: ask for the one job.

    `data` is what the producer sent: the payload of a platform job, else {"args": [...], "kwargs": {...}}.
    `due` is the epoch ms at which a delayed job becomes ready; `lease_until` ends an active job's lease.
    `reason` says why a job is where it is when that is not plain: "stalled", "cancelled by ops1", a deferral.
    """

    id: str
    queue: str
    name: str
    state: JobState
    timestamp: int
    priority: int = int(JobPriority.NORMAL)
    retries: int = 0
    attempts_made: int = 0
    stalled: int = 0
    progress: int = 0
    step: str = ""
    processed_on: int | None = None
    finished_on: int | None = None
    due: int | None = None
    lease_until: int | None = None
    worker: str = ""
    error: str = ""
    reason: str = ""
    data: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    attempts: tuple[Attempt, ...] = ()
    logs: tuple[LogLine, ...] = ()
    checkpoint: Any = None

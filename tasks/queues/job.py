"""What a queue of the platform states of itself and of its jobs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import Backoff, JobPriority
from tasks.payloads import Payload, dump_payload, parse_payload
from tasks.settings import PlatformSettings

Prepare = Callable[[Any], Payload]
Processor = Callable[[Any, JobContext], Any]
Urgency = Callable[[Mapping[str, Any]], int]


def _as_it_is(payload: Payload) -> Payload:
    return payload


@dataclass(frozen=True, slots=True)
class PlatformJob:
    """One job. `prepare` completes or refuses a payload by the settings, after its model accepted it.

    `urgency` gives the priority of a checked payload where it depends on that; `priority` stands for all others.
    """

    queue: str
    name: str
    model: type[Payload]
    function: Callable[..., Any]
    priority: int = int(JobPriority.NORMAL)
    timeout: timedelta | None = None
    retries: int | None = None
    backoff: Backoff | None = None
    prepare: Prepare = field(default=_as_it_is, repr=False)
    urgency: Urgency | None = field(default=None, repr=False)

    def check(self, data: Any) -> dict[str, Any]:
        """The payload as it is stored. Raises InvalidPayload naming field and reason."""
        return dump_payload(self.prepare(parse_payload(self.model, data, job=self.name)))

    def priority_of(self, data: Mapping[str, Any]) -> int:
        """The priority of a payload as `check` gave it."""
        return self.priority if self.urgency is None else self.urgency(data)

    def schema(self) -> dict[str, Any]:
        """The payload's JSON schema, fields named as on the wire."""
        return self.model.model_json_schema(by_alias=True)


@dataclass(frozen=True, slots=True)
class PlatformQueue:
    """One queue: its name, its jobs under some settings, and the modules that only its worker needs.

    `jobs` opens no connection, reads no secret and imports none of `needs`: producers call it too.
    """

    name: str
    jobs: Callable[[PlatformSettings], list[PlatformJob]]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The modules of `needs` that are not installed here."""
        return [module for module in self.needs if importlib.util.find_spec(module) is None]

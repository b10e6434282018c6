"""What happened: queue events and the audit trail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """One entry of a queue's event stream; `kind` is the transition's name, `at` epoch ms."""

    id: str
    at: int
    queue: str
    kind: str
    job_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and through which door (`dashboard`, `api`, `cli`, `python`)."""

    name: str
    door: str
    client: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act of a person or token: who, when (epoch ms), what, on which queue, how many jobs. `act` undoes it."""

    id: str
    at: int
    actor: Actor
    action: str
    queue: str
    count: int
    detail: str = ""
    act: str = ""

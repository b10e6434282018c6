"""An alert rule that holds now."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class AlertRule(enum.StrEnum):
    """The rules of the overview's marks."""

    SPOILED = "spoiled"
    WAITING = "waiting"
    FAILURE_RATE = "failure_rate"
    DURATION = "duration"
    OLDEST_WAITING = "oldest_waiting"
    NO_WORKER = "no_worker"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule broken by one queue; `text` is the sentence a person reads."""

    queue: str
    rule: AlertRule
    text: str

"""The payloads of the queue notification."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator

from tasks.contacts import one_line
from tasks.payloads.base import MAX_BATCH, Payload, Text, as_list, one_or_many, plain_list, within_batch

TargetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Targets = Annotated[
    Annotated[TargetName, Tag("one")]
    | Annotated[list[TargetName], Field(min_length=1, max_length=100), BeforeValidator(plain_list), Tag("many")],
    Discriminator(one_or_many),
]


class SendNotification(Payload):
    """One notification to one place or several."""

    targets: Targets
    """Names of `notification.targets` or `notification.webhooks` of the worker's settings, one or a list.

    Never a URL: whoever may enqueue could otherwise send to anywhere, and the URLs hold secrets.
    """
    title: Annotated[str, Field(max_length=250), AfterValidator(one_line)] = ""
    """One line."""
    body: Annotated[Text, Field(min_length=1, max_length=32_768)]
    """The text."""
    level: Literal["info", "success", "warning", "failure"] = "info"
    """How it is shown: colour, icon."""
    kind: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "general"
    """What it is about; a `payment` is CRITICAL and what is `realtime` HIGH, unless the options name a priority."""


class SendBatchNotification(Payload):
    """Many notifications, sent one by one; one that fails never stops the rest."""

    notifications: Annotated[list[SendNotification], Field(min_length=1, max_length=MAX_BATCH)]
    """The notifications, each as in send-notification. The most urgent one gives the job its priority."""

    @field_validator("notifications")
    @classmethod
    def _not_too_many(cls, value: list[SendNotification]) -> list[SendNotification]:
        within_batch(sum(len(as_list(one.targets)) for one in value), "targets")
        return value

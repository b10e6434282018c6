"""The payloads of the queue email."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from tasks.contacts import header_text, parse_mailbox, writable
from tasks.payloads.base import MAX_BATCH, Payload, Text, as_list, one_or_many, plain_list


def _checked_address(text: str) -> str:
    parse_mailbox(text)
    return text


EmailAddress = Annotated[str, Field(max_length=320), AfterValidator(_checked_address)]
Addresses = Annotated[
    Annotated[EmailAddress, Tag("one")]
    | Annotated[list[EmailAddress], Field(min_length=1), BeforeValidator(plain_list), Tag("many")],
    Discriminator(one_or_many),
]


class Attachment(Payload):
    """One attached file: from a path on the worker's host, or with its content in the payload."""

    filename: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(header_text)]
    """The name the receiver sees; no folders."""
    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(writable)] | None = None
    """A file inside one of `email.attachment_roots` of the worker."""
    content: Text | None = None
    """The content itself: text, or base64 when `encoding` says so."""
    encoding: Literal["base64"] | None = None
    """`base64` when `content` is base64."""

    @field_validator("filename")
    @classmethod
    def _no_folder(cls, value: str) -> str:
        if "/" in value or "\\" in value or value in {".", ".."}:
            raise ValueError("must be a plain file name")
        return value

    @field_validator("path")
    @classmethod
    def _no_nul(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError("must not contain a NUL")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.content is None):
            raise ValueError("needs exactly one of path and content")
        if self.encoding and self.content is None:
            raise ValueError("encoding goes with content only")
        if self.encoding:
            self.data()
        return self

    def data(self) -> bytes:
        """The bytes of `content`. Raises ValueError when it is no base64."""
        if self.encoding is None:
            return (self.content or "").encode()
        try:
            return base64.b64decode("".join((self.content or "").split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("content is not valid base64") from None


class SendEmail(Payload):
    """One mail."""

    to: Addresses
    """One address or a list; `Name <user@example.com>` is accepted."""
    subject: Annotated[str, Field(max_length=998), AfterValidator(header_text)]
    """One line."""
    html: Text | None = None
    """The body as HTML."""
    text: Text | None = None
    """The body as plain text; with `html` both are sent and the receiver's program chooses."""
    from_: EmailAddress | None = Field(default=None, alias="from")
    """The sender; without it `smtp.from` of the worker's settings."""
    cc: Addresses | None = None
    """Copies, visible to all."""
    bcc: Addresses | None = None
    """Copies that no header shows."""
    attachments: list[Attachment] | None = None
    """Files to attach."""

    @property
    def recipients(self) -> list[str]:
        """Every address of to, cc and bcc."""
        return [*as_list(self.to), *as_list(self.cc), *as_list(self.bcc)]


class SendBatchEmail(Payload):
    """Many mails, sent one by one over one connection; one bad address never stops the rest."""

    emails: Annotated[list[SendEmail], Field(min_length=1, max_length=MAX_BATCH)]
    """The mails, each as in send-email."""


class SendScheduledEmail(SendEmail):
    """One mail at a given time."""

    scheduled_time: datetime
    """ISO 8601; without a zone the `timezone` setting decides; in the past means at once."""

    @field_validator("scheduled_time", mode="before")
    @classmethod
    def _from_iso(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is not an ISO 8601 time such as 2025-10-21T10:30:00+08:00") from None

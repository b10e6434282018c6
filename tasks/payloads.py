"""One payload model per job of the platform, the source of the JSON schemas.

camelCase on the wire, snake_case in Python, both accepted; unknown fields and loose types refused.
May import contacts and errors only: a producer loads it without any client.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cloudq_tui.errors import InvalidPayload
from tasks.contacts import one_line, parse_mailbox, parse_phone, writable

M = TypeVar("M", bound=BaseModel)

MAX_BATCH = 1000
"""Most items of one batch job; `send_batch_email` and `send_batch_sms` split longer lists by themselves."""


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


def _checked_address(text: str) -> str:
    parse_mailbox(text)
    return text


def _plain_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _one_or_many(value: object) -> str:
    return "many" if isinstance(value, list | tuple) else "one"


# What pydantic adds to an error's path for a union: no field of ours.
_SHAPES = frozenset({"one", "many"})
_SCALARS = frozenset({"str", "int", "float"})

Text = Annotated[str, AfterValidator(writable)]
EmailAddress = Annotated[str, Field(max_length=320), AfterValidator(_checked_address)]
Addresses = Annotated[
    Annotated[EmailAddress, Tag("one")]
    | Annotated[list[EmailAddress], Field(min_length=1), BeforeValidator(_plain_list), Tag("many")],
    Discriminator(_one_or_many),
]
Phone = Annotated[str, Field(max_length=32), AfterValidator(parse_phone)]
Phones = Annotated[
    Annotated[Phone, Tag("one")]
    | Annotated[list[Phone], Field(min_length=1, max_length=MAX_BATCH), BeforeValidator(_plain_list), Tag("many")],
    Discriminator(_one_or_many),
]


def as_list(value: str | list[str] | None) -> list[str]:
    """One, many or none as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


class Attachment(Payload):
    """One attached file: from a path on the worker's host, or with its content in the payload."""

    filename: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(one_line)]
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
    subject: Annotated[str, Field(max_length=998), AfterValidator(one_line)]
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


ProviderName = Literal["aliyun", "tencent", "twilio", "sandbox"]


class SendSms(Payload):
    """One text message to one number or several."""

    phone: Phones
    """E.164 or a mainland mobile number, one or a list."""
    message: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(writable)]
    """The text; providers that send by template use template and variables instead."""
    template: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(one_line)] | None = None
    """The provider's template."""
    variables: dict[str, str | int | float] | None = None
    """What fills the template."""
    provider: ProviderName | None = None
    """Which provider sends it; without it the `sms.provider` setting."""

    @field_validator("variables")
    @classmethod
    def _all_writable(cls, value: dict[str, str | int | float] | None) -> dict[str, str | int | float] | None:
        for part in (part for pair in (value or {}).items() for part in pair if isinstance(part, str)):
            writable(part)
        return value


class SendBatchSms(Payload):
    """Many text messages, sent one by one."""

    messages: Annotated[list[SendSms], Field(min_length=1, max_length=MAX_BATCH)]
    """The messages, each as in send-sms."""


class SendVerificationCode(Payload):
    """A code that proves a phone number; worthless once it is older than `expiresIn`."""

    phone: Phone
    """E.164 or a mainland mobile number."""
    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,16}$")]
    """The code, as text so that leading zeros stay."""
    expires_in: Annotated[int, Field(ge=1, le=24 * 60)] = 5
    """Minutes for which the code is valid."""
    expires_at: Annotated[int, Field(ge=0)] | None = None
    """Epoch ms after which the code is not sent any more; set when the job is enqueued."""


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
        if len(parts) > 1 and parts[-1] in _SCALARS:
            parts.pop()
        field = ".".join([prefix, *parts] if prefix else parts) or "payload"
        reason = "is not a field of this job" if first["type"] == "extra_forbidden" else first["msg"]
        raise InvalidPayload(field, reason.removeprefix("Value error, "), job=job) from None


def dump_payload(payload: BaseModel) -> dict[str, Any]:
    """The payload as it is stored: plain JSON data, camelCase, absent fields left out."""
    return payload.model_dump(mode="json", by_alias=True, exclude_none=True)

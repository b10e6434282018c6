"""The payloads of the queue sms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator

from tasks.contacts import one_line, parse_phone, writable
from tasks.payloads.base import MAX_BATCH, Payload, as_list, one_or_many, plain_list, within_batch

Phone = Annotated[str, Field(max_length=32), AfterValidator(parse_phone)]
Phones = Annotated[
    Annotated[Phone, Tag("one")]
    | Annotated[list[Phone], Field(min_length=1, max_length=MAX_BATCH), BeforeValidator(plain_list), Tag("many")],
    Discriminator(one_or_many),
]


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

    @field_validator("messages")
    @classmethod
    def _not_too_many(cls, value: list[SendSms]) -> list[SendSms]:
        within_batch(sum(len(as_list(message.phone)) for message in value), "numbers")
        return value


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

"""Every job the platform offers: its queue and name, payload model, defaults, and the function behind it.

The one place a new job is written down. Producers take the checks from here and workers the functions; building
it opens no connection and reads no secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from cloudq_tui.errors import InvalidPayload
from cloudq_tui.models.job import Backoff, JobPriority
from tasks.outside import Outside
from tasks.payloads import (
    Payload,
    SendBatchEmail,
    SendBatchSms,
    SendEmail,
    SendScheduledEmail,
    SendSms,
    SendVerificationCode,
    dump_payload,
    parse_payload,
)
from tasks.processors import email, sms
from tasks.settings import PlatformSettings

Prepare = Callable[[Any], Payload]


def _as_it_is(payload: Payload) -> Payload:
    return payload


@dataclass(frozen=True, slots=True)
class PlatformJob:
    """One job. `prepare` completes or refuses a payload by the settings, after its model accepted it."""

    queue: str
    name: str
    model: type[Payload]
    function: Callable[..., Any]
    priority: int = int(JobPriority.NORMAL)
    timeout: timedelta | None = None
    retries: int | None = None
    backoff: Backoff | None = None
    prepare: Prepare = field(default=_as_it_is, repr=False)

    def check(self, data: Any) -> dict[str, Any]:
        """The payload as it is stored. Raises InvalidPayload naming field and reason."""
        return dump_payload(self.prepare(parse_payload(self.model, data, job=self.name)))

    def schema(self) -> dict[str, Any]:
        """The payload's JSON schema, fields named as on the wire."""
        return self.model.model_json_schema(by_alias=True)


def definitions(settings: PlatformSettings) -> list[PlatformJob]:
    """The jobs of the queues that have a processor."""
    outside = Outside(settings)
    return [*_email_jobs(settings, outside), *_sms_jobs(outside)]


def _email_jobs(settings: PlatformSettings, outside: Outside) -> list[PlatformJob]:
    rules = EmailRules(settings.email.max_recipients, ZoneInfo(settings.timezone))
    pause = settings.email.batch_pause / 1000
    return [
        PlatformJob(
            queue="email",
            name="send-email",
            model=SendEmail,
            function=outside.for_mail(email.send_email),
            timeout=timedelta(minutes=5),
            prepare=partial(rules.one, job="send-email"),
        ),
        PlatformJob(
            queue="email",
            name="send-batch-email",
            model=SendBatchEmail,
            function=outside.for_mail(email.send_batch_email, pause=pause),
            priority=int(JobPriority.LOW),
            timeout=timedelta(hours=2),
            prepare=rules.batch,
        ),
        PlatformJob(
            queue="email",
            name="send-scheduled-email",
            model=SendScheduledEmail,
            function=outside.for_mail(email.send_scheduled_email),
            timeout=timedelta(minutes=5),
            prepare=rules.scheduled,
        ),
    ]


def _sms_jobs(outside: Outside) -> list[PlatformJob]:
    return [
        PlatformJob(
            queue="sms",
            name="send-sms",
            model=SendSms,
            function=outside.for_sms(sms.send_sms),
            timeout=timedelta(minutes=5),
        ),
        PlatformJob(
            queue="sms",
            name="send-batch-sms",
            model=SendBatchSms,
            function=outside.for_sms(sms.send_batch_sms),
            priority=int(JobPriority.LOW),
            timeout=timedelta(hours=2),
        ),
        PlatformJob(
            queue="sms",
            name="send-verification-code",
            model=SendVerificationCode,
            function=outside.for_sms(sms.send_verification_code),
            priority=int(JobPriority.CRITICAL),
            timeout=timedelta(minutes=1),
            prepare=with_expiry,
        ),
    ]


@dataclass(frozen=True, slots=True)
class EmailRules:
    """What the settings, not the model, say of a mail."""

    max_recipients: int
    zone: ZoneInfo

    def one(self, mail: SendEmail, *, job: str, prefix: str = "") -> SendEmail:
        """Raises InvalidPayload when the mail goes to too many at once."""
        count = len(mail.recipients)
        if count > self.max_recipients:
            advice = "use the batch call (send_batch_email, send-batch-email): one mail each"
            limit = f"at most {self.max_recipients} (email.max_recipients)"
            raise InvalidPayload(f"{prefix}to", f"{count} recipients in one mail, {limit}: {advice}", job=job)
        return mail

    def batch(self, batch: SendBatchEmail) -> SendBatchEmail:
        for index, mail in enumerate(batch.emails):
            self.one(mail, job="send-batch-email", prefix=f"emails.{index}.")
        return batch

    def scheduled(self, mail: SendScheduledEmail) -> SendScheduledEmail:
        """Give a time without a zone the platform's, so that every worker means the same instant."""
        self.one(mail, job="send-scheduled-email")
        if mail.scheduled_time.tzinfo is not None:
            return mail
        return mail.model_copy(update={"scheduled_time": mail.scheduled_time.replace(tzinfo=self.zone)})


def with_expiry(payload: SendVerificationCode) -> SendVerificationCode:
    """Fix the instant at which the code is worthless: a processor cannot see when its job was made."""
    if payload.expires_at is not None:
        return payload
    return payload.model_copy(update={"expires_at": int(time.time() * 1000) + payload.expires_in * 60_000})

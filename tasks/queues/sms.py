"""The queue sms: its jobs, their defaults, and the providers they speak to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, wraps
from typing import Any

from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from tasks.clients.sms import SandboxProvider, SmsGateway, SmsProvider
from tasks.payloads import Payload, SendBatchSms, SendSms, SendVerificationCode
from tasks.processors import sms as processor
from tasks.queues.job import PlatformJob, PlatformQueue, Processor
from tasks.settings import PlatformSettings


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    outside = _Outside(settings)
    return [
        PlatformJob(
            queue="sms",
            name="send-sms",
            model=SendSms,
            function=outside.for_sms(processor.send_sms),
            timeout=timedelta(minutes=5),
        ),
        PlatformJob(
            queue="sms",
            name="send-batch-sms",
            model=SendBatchSms,
            function=outside.for_sms(processor.send_batch_sms),
            priority=int(JobPriority.LOW),
            timeout=timedelta(hours=2),
        ),
        PlatformJob(
            queue="sms",
            name="send-verification-code",
            model=SendVerificationCode,
            function=outside.for_sms(processor.send_verification_code),
            priority=int(JobPriority.CRITICAL),
            timeout=timedelta(minutes=1),
            prepare=with_expiry,
        ),
    ]


def with_expiry(payload: SendVerificationCode) -> SendVerificationCode:
    """Fix the instant at which the code is worthless: a processor cannot see when its job was made."""
    if payload.expires_at is not None:
        return payload
    return payload.model_copy(update={"expires_at": int(time.time() * 1000) + payload.expires_in * 60_000})


class _Outside:
    """The providers, as the settings describe them; made at a worker's first job, not by who only enqueues."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings

    @cached_property
    def gateway(self) -> SmsGateway:
        sms = self._settings.sms
        ready: dict[str, SmsProvider] = {}
        unavailable = _not_built(self._settings)
        if sms.providers.sandbox.outbox is None:
            unavailable["sandbox"] = "sms.providers.sandbox.outbox is not set"
        else:
            ready["sandbox"] = SandboxProvider(sms.providers.sandbox.outbox)
        return SmsGateway(
            ready=ready, unavailable=unavailable, default=sms.provider, max_per_minute=sms.max_per_minute
        )

    def for_sms(self, function: Callable[..., Any]) -> Processor:
        """`function` with the SMS providers."""

        @wraps(function)
        def processor(payload: Payload, job: JobContext) -> Any:
            return function(payload, job, gateway=self.gateway)

        return processor


def _not_built(settings: PlatformSettings) -> dict[str, str]:
    providers = settings.sms.providers
    keys = {
        "aliyun": ("access_key_id", providers.aliyun.access_key_id),
        "tencent": ("secret_id", providers.tencent.secret_id),
        "twilio": ("account_sid", providers.twilio.account_sid),
    }
    return {
        name: "not available yet" + ("" if value else f", and sms.providers.{name}.{key} is not set")
        for name, (key, value) in keys.items()
    }


QUEUE = PlatformQueue("sms", jobs)

"""The queue sms: its jobs, their defaults, and the providers they speak to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cloudq_tui.errors import SettingsError
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from cloudq_tui.settings import read_secret
from tasks.clients.sms import SandboxProvider, SmsApi, SmsGateway, SmsProvider, Template
from tasks.clients.sms_aliyun import PUBLIC as ALIYUN
from tasks.clients.sms_aliyun import AliyunProvider
from tasks.clients.sms_tencent import PUBLIC as TENCENT
from tasks.clients.sms_tencent import TencentProvider
from tasks.clients.sms_twilio import PUBLIC as TWILIO
from tasks.clients.sms_twilio import TwilioProvider
from tasks.payloads import Payload, SendBatchSms, SendSms, SendVerificationCode
from tasks.processors import sms as processor
from tasks.queues.job import PlatformJob, PlatformQueue, Processor
from tasks.settings import PlatformSettings
from tasks.settings.sms import ProviderSettings


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
        ready: dict[str, SmsProvider] = {}
        unavailable: dict[str, str] = {}
        for name, make in (
            ("aliyun", self._aliyun),
            ("tencent", self._tencent),
            ("twilio", self._twilio),
            ("sandbox", self._sandbox),
        ):
            try:
                ready[name] = make()
            except SettingsError as error:
                unavailable[name] = str(error)
        sms = self._settings.sms
        return SmsGateway(
            ready=ready,
            unavailable=unavailable,
            default=sms.provider,
            max_per_minute=sms.max_per_minute,
            failover=sms.failover,
        )

    def _aliyun(self) -> AliyunProvider:
        own = self._settings.sms.providers.aliyun
        return AliyunProvider(
            self._api("aliyun", own, ALIYUN),
            access_key_id=_given("aliyun", "access_key_id", own.access_key_id),
            access_key_secret=_secret("aliyun", "access_key_secret", own.access_key_secret, own.access_key_secret_file),
            sign_name=_given("aliyun", "sign_name", own.sign_name),
        )

    def _tencent(self) -> TencentProvider:
        own = self._settings.sms.providers.tencent
        return TencentProvider(
            self._api("tencent", own, TENCENT),
            secret_id=_given("tencent", "secret_id", own.secret_id),
            secret_key=_secret("tencent", "secret_key", own.secret_key, own.secret_key_file),
            sdk_app_id=_given("tencent", "sdk_app_id", own.sdk_app_id),
            sign_name=own.sign_name,
            region=own.region,
        )

    def _twilio(self) -> TwilioProvider:
        own = self._settings.sms.providers.twilio
        return TwilioProvider(
            self._api("twilio", own, TWILIO),
            account_sid=_given("twilio", "account_sid", own.account_sid),
            auth_token=_secret("twilio", "auth_token", own.auth_token, own.auth_token_file),
            sender=_given("twilio", "from", own.from_),
        )

    def _sandbox(self) -> SandboxProvider:
        outbox = self._settings.sms.providers.sandbox.outbox
        if outbox is None:
            raise SettingsError("sms.providers.sandbox.outbox is not set")
        return SandboxProvider(outbox)

    def _api(self, name: str, own: ProviderSettings, public: str) -> SmsApi:
        templates = {key: Template(one.id, one.variables) for key, one in own.templates.items()}
        return SmsApi(name, own.endpoint or public, self._settings.sms.timeout, templates)

    def for_sms(self, function: Callable[..., Any]) -> Processor:
        """`function` with the SMS providers."""

        @wraps(function)
        def processor(payload: Payload, job: JobContext) -> Any:
            return function(payload, job, gateway=self.gateway)

        return processor


def _given(provider: str, key: str, value: str) -> str:
    """`value`, or SettingsError naming the setting and its variable."""
    if not value:
        path = f"sms.providers.{provider}.{key}"
        raise SettingsError(f"{path} is not set (CLOUDQ_{path.replace('.', '__').upper()})")
    return value


def _secret(provider: str, key: str, value: SecretStr | None, file: Path | None) -> str:
    found = value or read_secret(f"sms.providers.{provider}.{key}_file", file)
    return _given(provider, key, found.get_secret_value() if found else "")


QUEUE = PlatformQueue("sms", jobs)

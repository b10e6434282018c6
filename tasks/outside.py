"""Gives processors their clients. The clients are made at a worker's first job, not by who only enqueues."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any

from cloudq_tui.models.context import JobContext
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.sms import SandboxProvider, SmsGateway, SmsProvider
from tasks.clients.smtp import SmtpServer
from tasks.payloads import Payload
from tasks.settings import PlatformSettings

Processor = Callable[[Any, JobContext], Any]


class Outside:
    """Everything outside the platform that its jobs speak to, as the settings describe it."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings

    @cached_property
    def server(self) -> SmtpServer:
        """Raises SettingsError when the password's file cannot be read."""
        smtp = self._settings.smtp
        return SmtpServer(
            host=smtp.host,
            port=smtp.effective_port,
            username=smtp.username,
            password=smtp.secret(),
            tls=smtp.tls,
            timeout=smtp.timeout,
            sender=smtp.from_,
            ca_file=smtp.ca_file,
        )

    @cached_property
    def files(self) -> AttachmentFiles:
        email = self._settings.email
        return AttachmentFiles(email.attachment_roots, max_size=email.max_attachment_size)

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

    def for_mail(self, function: Callable[..., Any], **more: Any) -> Processor:
        """`function` with the mail server and the attachment folders."""

        @wraps(function)
        def processor(payload: Payload, job: JobContext) -> Any:
            return function(payload, job, server=self.server, files=self.files, **more)

        return processor

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

"""The queue email: its jobs, their defaults, and the mail server they speak to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial, wraps
from typing import Any
from zoneinfo import ZoneInfo

from cloudq_tui.errors import InvalidPayload
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.smtp import SmtpServer
from tasks.payloads import Payload, SendBatchEmail, SendEmail, SendScheduledEmail
from tasks.processors import email as processor
from tasks.queues.job import PlatformJob, PlatformQueue, Processor
from tasks.settings import PlatformSettings


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    outside = _Outside(settings)
    rules = EmailRules(settings.email.max_recipients, ZoneInfo(settings.timezone))
    pause = settings.email.batch_pause / 1000
    return [
        PlatformJob(
            queue="email",
            name="send-email",
            model=SendEmail,
            function=outside.for_mail(processor.send_email),
            timeout=timedelta(minutes=5),
            prepare=partial(rules.one, job="send-email"),
        ),
        PlatformJob(
            queue="email",
            name="send-batch-email",
            model=SendBatchEmail,
            function=outside.for_mail(processor.send_batch_email, pause=pause),
            priority=int(JobPriority.LOW),
            timeout=timedelta(hours=2),
            prepare=rules.batch,
        ),
        PlatformJob(
            queue="email",
            name="send-scheduled-email",
            model=SendScheduledEmail,
            function=outside.for_mail(processor.send_scheduled_email),
            timeout=timedelta(minutes=5),
            prepare=rules.scheduled,
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


class _Outside:
    """The mail server and the attachment folders; made at a worker's first job, not by who only enqueues."""

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

    def for_mail(self, function: Callable[..., Any], **more: Any) -> Processor:
        """`function` with the mail server and the attachment folders."""

        @wraps(function)
        def processor(payload: Payload, job: JobContext) -> Any:
            return function(payload, job, server=self.server, files=self.files, **more)

        return processor


QUEUE = PlatformQueue("email", jobs)

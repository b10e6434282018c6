"""The queue notification: its jobs, their defaults, and the targets they speak to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property, wraps
from typing import Any

from cloudq_tui.errors import SettingsError
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from cloudq_tui.settings import read_secret
from tasks.clients.notifiers import AppriseNotifier, Notifier, Notifiers, WebhookNotifier
from tasks.payloads import Payload, SendBatchNotification, SendNotification
from tasks.processors import notification as processor
from tasks.queues.job import PlatformJob, PlatformQueue, Processor
from tasks.settings import PlatformSettings
from tasks.webhooks import sign

_BY_KIND = {"payment": JobPriority.CRITICAL, "realtime": JobPriority.HIGH}


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    outside = _Outside(settings)
    return [
        PlatformJob(
            queue="notification",
            name="send-notification",
            model=SendNotification,
            function=outside.for_notes(processor.send_notification),
            timeout=timedelta(minutes=5),
            urgency=urgency,
        ),
        PlatformJob(
            queue="notification",
            name="send-batch-notification",
            model=SendBatchNotification,
            function=outside.for_notes(processor.send_batch_notification),
            timeout=timedelta(hours=2),
            urgency=lambda data: min(map(urgency, data["notifications"])),
        ),
    ]


def urgency(data: Mapping[str, Any]) -> int:
    """The priority of a checked send-notification payload."""
    return int(_BY_KIND.get(data["kind"], JobPriority.NORMAL))


class _Outside:
    """The targets, as the settings name them; made at a worker's first job, not by who only enqueues."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings

    @cached_property
    def notifiers(self) -> Notifiers:
        own = self._settings.notification
        ready: dict[str, Notifier] = {
            name: AppriseNotifier(name, url.get_secret_value(), own.timeout) for name, url in own.targets.items()
        }
        unavailable: dict[str, str] = {}
        for name in (*own.target_files, *own.webhooks):
            try:
                ready[name] = self._from_file(name) if name in own.target_files else self._webhook(name)
            except SettingsError as error:
                unavailable[name] = str(error)
        return Notifiers(ready, unavailable)

    def _from_file(self, name: str) -> AppriseNotifier:
        own = self._settings.notification
        url = read_secret(f"notification.target_files.{name}", own.target_files[name])
        return AppriseNotifier(name, url.get_secret_value() if url else "", own.timeout)

    def _webhook(self, name: str) -> WebhookNotifier:
        own = self._settings.notification
        key = f"notification.webhooks.{name}.secret"
        secret = own.webhooks[name].key(name)
        if not secret:
            raise SettingsError(f"{key} is not set (CLOUDQ_{key.replace('.', '__').upper()} or secret_file)")
        try:
            sign(secret, "", 0, b"")
        except ValueError as error:
            raise SettingsError(f"{key}: {error}") from None
        return WebhookNotifier(name, own.webhooks[name].url.get_secret_value(), secret, own.timeout)

    def for_notes(self, function: Callable[..., Any]) -> Processor:
        """`function` with the targets."""

        @wraps(function)
        def processor(payload: Payload, job: JobContext) -> Any:
            return function(payload, job, notifiers=self.notifiers)

        return processor


QUEUE = PlatformQueue("notification", jobs, needs=("apprise",))

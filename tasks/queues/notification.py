"""The queue notification: its jobs, their defaults, and the targets they speak to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cloudq_tui.errors import SettingsError
from cloudq_tui.models.context import JobContext
from cloudq_tui.models.job import JobPriority
from cloudq_tui.settings import read_secret
from tasks.payloads import SendBatchNotification, SendNotification
from tasks.queues.job import PlatformJob, PlatformQueue
from tasks.settings import PlatformSettings
from tasks.webhooks import sign

if TYPE_CHECKING:
    from tasks.clients.notifiers import Notifier, Notifiers

_BY_KIND = {"payment": JobPriority.CRITICAL, "realtime": JobPriority.HIGH}


def jobs(settings: PlatformSettings) -> list[PlatformJob]:
    outside = _Outside(settings)
    return [
        PlatformJob(
            queue="notification",
            name="send-notification",
            model=SendNotification,
            function=outside.send_notification,
            timeout=timedelta(minutes=5),
            urgency=urgency,
        ),
        PlatformJob(
            queue="notification",
            name="send-batch-notification",
            model=SendBatchNotification,
            function=outside.send_batch_notification,
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

    def send_notification(self, payload: SendNotification, job: JobContext) -> Any:
        from tasks.processors import notification  # noqa: PLC0415 - loads apprise

        return notification.send_notification(payload, job, notifiers=self.notifiers)

    def send_batch_notification(self, payload: SendBatchNotification, job: JobContext) -> Any:
        from tasks.processors import notification  # noqa: PLC0415 - the same

        return notification.send_batch_notification(payload, job, notifiers=self.notifiers)

    @cached_property
    def notifiers(self) -> Notifiers:
        from tasks.clients.notifiers import Notifiers  # noqa: PLC0415 - the same

        own = self._settings.notification
        targets = {name: url.get_secret_value() for name, url in own.targets.items()}
        ready: dict[str, Notifier] = {name: self._service(name, url) for name, url in targets.items()}
        unavailable: dict[str, str] = {}
        for name in (*own.target_files, *own.webhooks):
            try:
                ready[name] = self._from_file(name) if name in own.target_files else self._webhook(name)
            except SettingsError as error:
                unavailable[name] = str(error)
        return Notifiers(ready, unavailable)

    def _service(self, name: str, url: str) -> Notifier:
        from tasks.clients.notifiers import AppriseNotifier  # noqa: PLC0415 - the same

        return AppriseNotifier(name, url, self._settings.notification.timeout)

    def _from_file(self, name: str) -> Notifier:
        file = self._settings.notification.target_files[name]
        url = read_secret(f"notification.target_files.{name}", file)
        return self._service(name, url.get_secret_value() if url else "")

    def _webhook(self, name: str) -> Notifier:
        from tasks.clients.notifiers import WebhookNotifier  # noqa: PLC0415 - the same

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


QUEUE = PlatformQueue("notification", jobs, needs=("apprise",))

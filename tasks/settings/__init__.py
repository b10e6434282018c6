"""The platform's own sections of the settings: smtp, email, sms. Sources and their order are the product's.

    defaults < YAML file < .env < environment < flags

Secrets come from the environment or from a file that a `..._file` key names, and never show in an error.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from cloudq_tui.settings import LayeredSettings, Settings, load_settings_as
from tasks.settings.devices import DevicesSettings
from tasks.settings.email import EmailSettings, SmtpSettings
from tasks.settings.exports import ExportSettings
from tasks.settings.images import ImageSettings
from tasks.settings.logs import LogSettings
from tasks.settings.notification import NotificationSettings
from tasks.settings.reports import ReportsSettings
from tasks.settings.sms import SmsSettings

__all__ = [
    "EmailSettings",
    "ExportSettings",
    "ImageSettings",
    "LogSettings",
    "NotificationSettings",
    "PlatformSettings",
    "ReportsSettings",
    "SmsSettings",
    "SmtpSettings",
    "load_platform_settings",
]


class PlatformSettings(LayeredSettings):
    """What the platform's jobs need besides the product's settings."""

    smtp: SmtpSettings = SmtpSettings()
    """The mail server."""
    email: EmailSettings = EmailSettings()
    """Mails and batches."""
    sms: SmsSettings = SmsSettings()
    """Text messages."""
    notification: NotificationSettings = NotificationSettings()
    """Chat and push services and webhooks, by name."""
    exports: ExportSettings = ExportSettings()
    """Databases, their queries, and the folder of exports."""
    reports: ReportsSettings = ReportsSettings()
    """Reports, their templates and their folder."""
    devices: DevicesSettings = DevicesSettings()
    """Android devices."""
    images: ImageSettings = ImageSettings()
    """Pictures."""
    logs: LogSettings = LogSettings()
    """Logs."""
    timezone: str = Field(default_factory=lambda: Settings().timezone)
    """The product's own setting: here it is the zone of a scheduledTime that names none."""


def load_platform_settings(config: Path | None = None) -> PlatformSettings:
    """The platform's sections from all sources. Raises SettingsError in one line: key, problem, file."""
    return load_settings_as(PlatformSettings, config, beside=Settings)

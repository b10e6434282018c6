"""The core settings: what may be set, the defaults, and the one order in which sources are read.

    defaults < YAML file < .env < environment < flags

Owns the sections redis, queues, worker, dashboard, api and alerts, and the loader that an application reuses for
sections of its own (`load_settings_as`). Imports models and errors only. A model built directly, `Settings()`, is
plain defaults: nothing but the loader looks at files or at the environment. Durations are seconds unless a
field says milliseconds.
"""

from __future__ import annotations

from cloudq_tui.settings.loader import load_settings, load_settings_as
from cloudq_tui.settings.redis import RedisSettings, SentinelSettings
from cloudq_tui.settings.section import Section, read_secret, xdg_folder
from cloudq_tui.settings.sections import (
    MAINTENANCE,
    PLATFORM_QUEUES,
    RESERVED_QUEUES,
    AlertSettings,
    ApiSettings,
    DashboardSettings,
    Limiter,
    QueueAlerts,
    QueueName,
    QueueSettings,
    RetentionSettings,
    WorkerSettings,
)
from cloudq_tui.settings.tree import LayeredSettings, Settings, host_timezone

__all__ = [
    "MAINTENANCE",
    "PLATFORM_QUEUES",
    "RESERVED_QUEUES",
    "AlertSettings",
    "ApiSettings",
    "DashboardSettings",
    "LayeredSettings",
    "Limiter",
    "QueueAlerts",
    "QueueName",
    "QueueSettings",
    "RedisSettings",
    "RetentionSettings",
    "Section",
    "SentinelSettings",
    "Settings",
    "WorkerSettings",
    "host_timezone",
    "load_settings",
    "load_settings_as",
    "read_secret",
    "xdg_folder",
]

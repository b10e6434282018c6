"""The root of the settings: every section, and what stands beside them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cloudq_tui.models.job import MAX_PAYLOAD
from cloudq_tui.settings.redis import RedisSettings
from cloudq_tui.settings.sections import (
    PLATFORM_QUEUES,
    AlertSettings,
    ApiSettings,
    DashboardSettings,
    QueueName,
    QueueSettings,
    WorkerSettings,
)

log = logging.getLogger(__name__)


def _without_attempts(queue: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Bull counts all attempts where this platform counts retries; its owner wants a pasted n to stay n."""
    if "attempts" not in given:
        return dict(given)
    log.warning("queues.%s.attempts is read as retries, the attempts after the first; write retries", queue)
    return {"retries": given["attempts"]} | {key: value for key, value in given.items() if key != "attempts"}


def host_timezone() -> str:
    """The IANA name of this host's zone; UTC when the host does not say."""
    link = Path("/etc/localtime")
    for name in (os.environ.get("TZ", "").removeprefix(":"), str(link.resolve()).partition("/zoneinfo/")[2]):
        if name and _is_zone(name):
            return name
    return "UTC"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


class LayeredSettings(BaseSettings):
    """Root of a settings tree that `load_settings_as` can fill. Sections it does not know are another's."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        env_prefix="CLOUDQ_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        env_parse_none_str="null",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller gives: the loader has already read and weighed the other sources."""
        return (init_settings,)


class Settings(LayeredSettings):
    """Everything the product itself can be told."""

    redis: RedisSettings = Field(default_factory=RedisSettings)
    """Which Redis."""
    queues: dict[QueueName, QueueSettings] = Field(default_factory=dict)
    """The queues. The eight of the platform are always there (`name: false` drops one); what is written for a
    queue changes only the keys it names."""
    worker: WorkerSettings = WorkerSettings()
    """Consumers: leases, and the dashboard's own worker."""
    dashboard: DashboardSettings = DashboardSettings()
    """The screen."""
    api: ApiSettings = ApiSettings()
    """The REST interface."""
    alerts: AlertSettings = AlertSettings()
    """Thresholds of all queues."""
    timezone: str = Field(default_factory=host_timezone)
    """IANA name of the zone that drives crontab, the nightly clean and what people see; the host's unless said."""
    dedupe_ttl: int = Field(default=24 * 3600, ge=1)
    """Seconds an id given by a producer is remembered at least, so that the same id is the same job."""
    max_payload: int = Field(default=MAX_PAYLOAD, ge=1024)
    """Bytes one job's payload may take as it is stored; larger data belongs in a file that the payload names."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if not _is_zone(name):
            raise ValueError("is not a known time zone (write an IANA name such as Europe/Berlin)")
        return name

    @field_validator("queues", mode="before")
    @classmethod
    def _over_platform(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        merged: dict[str, Any] = {name: dict(own) for name, own in PLATFORM_QUEUES.items()}
        for key, value in given.items():
            name = str(key)
            if value is False:
                merged.pop(name, None)
            elif isinstance(value, Mapping):
                merged[name] = merged.get(name, {}) | _without_attempts(name, value)
            else:
                merged[name] = merged.get(name, {}) if value is None else value
        return merged

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

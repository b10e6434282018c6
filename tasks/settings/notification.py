"""The section notification."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from cloudq_tui.settings import Section, read_secret
from cloudq_tui.settings.section import SecretUrl
from tasks.settings.common import FolderOrFile

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


def _web(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL such as https://hooks.example.com/cloudq")
    return url


class WebhookSettings(Section):
    url: Annotated[SecretStr, AfterValidator(_web)]
    """Where our signed JSON is posted to."""
    secret: SecretStr | None = None
    """What signs it; only from the environment, or use secret_file. `whsec_` marks one in base64."""
    secret_file: FolderOrFile | None = None
    """A file that holds the secret and nothing else."""

    def key(self, name: str) -> str:
        """The secret, "" without one. Raises SettingsError when the file cannot be read."""
        found = self.secret or read_secret(f"notification.webhooks.{name}.secret_file", self.secret_file)
        return found.get_secret_value() if found else ""


class NotificationSettings(Section):
    targets: dict[Name, SecretUrl] = Field(default_factory=dict)
    """Name -> apprise URL of a chat, push or other service; only from the environment, or use target_files."""
    target_files: dict[Name, FolderOrFile] = Field(default_factory=dict)
    """Name -> a file that holds the target's apprise URL and nothing else."""
    webhooks: dict[Name, WebhookSettings] = Field(default_factory=dict)
    """Name -> a webhook of our own kind: JSON signed with HMAC-SHA256 (tasks/webhooks.py)."""
    timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds a target gets for its whole answer."""

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        kinds = (self.targets, self.target_files, self.webhooks)
        names = [name.lower() for kind in kinds for name in kind]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice in targets, target_files and webhooks")
        return self

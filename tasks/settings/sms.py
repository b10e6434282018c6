"""The section sms."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, SecretStr

from cloudq_tui.settings import Section
from tasks.settings.common import FolderOrFile


class ProviderSettings(Section):
    """What every provider can be told; each has credentials of its own kind besides."""

    endpoint: str = ""
    """Base URL; the provider's public one unless said."""


class AliyunSettings(ProviderSettings):
    access_key_id: str = ""
    """Access key id."""
    access_key_secret: SecretStr | None = None
    """Its secret; only from the environment, or use access_key_secret_file."""
    access_key_secret_file: FolderOrFile | None = None
    """A file that holds the secret and nothing else."""
    sign_name: str = ""
    """Approved signature."""


class TencentSettings(ProviderSettings):
    secret_id: str = ""
    """Secret id."""
    secret_key: SecretStr | None = None
    """Its key; only from the environment, or use secret_key_file."""
    secret_key_file: FolderOrFile | None = None
    """A file that holds the key and nothing else."""
    sdk_app_id: str = ""
    """SMS application."""
    sign_name: str = ""
    """Approved signature."""
    region: str = "ap-guangzhou"
    """Region of the service."""


class TwilioSettings(ProviderSettings):
    model_config = ConfigDict(populate_by_name=True)

    account_sid: str = ""
    """Account."""
    auth_token: SecretStr | None = None
    """Its token; only from the environment, or use auth_token_file."""
    auth_token_file: FolderOrFile | None = None
    """A file that holds the token and nothing else."""
    from_: str = Field(default="", alias="from")
    """Number or sender name the messages come from."""


class SandboxSettings(Section):
    outbox: FolderOrFile | None = None
    """File to which each message is appended as a JSON line instead of being sent."""


class SmsProviders(Section):
    aliyun: AliyunSettings = AliyunSettings()
    """Alibaba Cloud."""
    tencent: TencentSettings = TencentSettings()
    """Tencent Cloud."""
    twilio: TwilioSettings = TwilioSettings()
    """Twilio."""
    sandbox: SandboxSettings = SandboxSettings()
    """Sends nothing; for demos and tests."""


class SmsSettings(Section):
    provider: Literal["aliyun", "tencent", "twilio", "sandbox"] = "aliyun"
    """Who sends messages that name no provider."""
    providers: SmsProviders = SmsProviders()
    """The providers' own settings."""
    max_per_minute: int = Field(default=10, ge=1)
    """Ordinary messages a minute and provider; raise it to your contract."""

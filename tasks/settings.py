"""The platform's own sections of the settings: smtp, email, sms. Sources and their order are the product's.

    defaults < YAML file < .env < environment < flags

Secrets come from the environment or from a file that a `..._file` key names, and never show in an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode

from cloudq_tui.settings import LayeredSettings, Section, Settings, load_settings_as, read_secret
from tasks.contacts import parse_mailbox

STANDARD_PORTS = {"none": 25, "starttls": 587, "tls": 465}


def _address_or_nothing(text: str) -> str:
    if text:
        parse_mailbox(text)
    return text


def _paths(value: object) -> object:
    """Environment variables carry lists as `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


FolderOrFile = Annotated[Path, AfterValidator(_absolute)]


class SmtpSettings(Section):
    model_config = ConfigDict(populate_by_name=True)

    host: str = ""
    """The mail server; without it no mail is sent and mail jobs fail, saying so."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Its port; 587 for starttls, 465 for tls and 25 for none unless said."""
    username: str = ""
    """Log in as; no login without it."""
    password: SecretStr | None = None
    """Password; only from the environment (CLOUDQ_SMTP__PASSWORD), or use password_file."""
    password_file: FolderOrFile | None = None
    """A file that holds the password and nothing else."""
    tls: Literal["none", "starttls", "tls"] = "starttls"
    """Encryption: none, starttls (must succeed) or tls from the first byte."""
    ca_file: FolderOrFile | None = None
    """CA certificates (PEM) to trust besides the system's."""
    from_: Annotated[str, AfterValidator(_address_or_nothing)] = Field(default="", alias="from")
    """Sender of mails that name none: `user@example.com` or `Name <user@example.com>`."""
    timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds the server may stay silent."""

    @property
    def effective_port(self) -> int:
        return self.port or STANDARD_PORTS[self.tls]

    def secret(self) -> str:
        """The password, "" without one. Raises SettingsError when password_file cannot be read."""
        found = self.password or read_secret("smtp.password_file", self.password_file)
        return found.get_secret_value() if found else ""


class EmailSettings(Section):
    batch_size: int = Field(default=100, ge=1, le=1000)
    """Mails in one send-batch-email job; a longer list becomes several jobs. Also of SMS batches."""
    batch_pause: int = Field(default=0, ge=0, le=60_000)
    """Milliseconds between two mails of a batch."""
    max_recipients: int = Field(default=50, ge=1, le=1000)
    """Most addresses (to, cc and bcc) of one mail."""
    attachment_roots: Annotated[tuple[FolderOrFile, ...], NoDecode, BeforeValidator(_paths)] = ()
    """Folders from which files may be attached by path; none unless said."""
    max_attachment_size: int = Field(default=25 * 1024 * 1024, ge=1)
    """Bytes one attached file may have."""


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


class PlatformSettings(LayeredSettings):
    """What the platform's jobs need besides the product's settings."""

    smtp: SmtpSettings = SmtpSettings()
    """The mail server."""
    email: EmailSettings = EmailSettings()
    """Mails and batches."""
    sms: SmsSettings = SmsSettings()
    """Text messages."""
    timezone: str = Field(default_factory=lambda: Settings().timezone)
    """The product's own setting: here it is the zone of a scheduledTime that names none."""


def load_platform_settings(config: Path | None = None) -> PlatformSettings:
    """The platform's sections from all sources. Raises SettingsError in one line: key, problem, file."""
    return load_settings_as(PlatformSettings, config)

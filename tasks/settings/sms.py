"""The section sms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr

from cloudq_tui.settings import Section
from cloudq_tui.settings.section import CommaList
from tasks.settings.common import FolderOrFile

Provider = Literal["aliyun", "tencent", "twilio", "sandbox"]


def _base_url(text: str) -> str:
    """An http(s) address without a user, a query or a last slash."""
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        raise ValueError("must be a URL such as https://sms.example.com")
    return text.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]


class TemplateSettings(Section):
    id: Annotated[str, Field(min_length=1), BeforeValidator(str)]
    """The provider's own id of it."""
    variables: Annotated[tuple[str, ...], *CommaList] = ()
    """Its variables in the provider's order; without it, as the message gives them."""


def _ids(value: object) -> object:
    """`name: id` is short for `name: {id: id}`."""
    if not isinstance(value, Mapping):
        return value
    given: Mapping[str, Any] = value
    return {name: one if isinstance(one, Mapping) else {"id": str(one)} for name, one in given.items()}


class ProviderSettings(Section):
    """What every provider can be told; each has credentials of its own kind besides."""

    endpoint: BaseUrl = ""
    """Base URL; the provider's public one unless said."""
    templates: Annotated[dict[str, TemplateSettings], BeforeValidator(_ids)] = Field(default_factory=dict)
    """Names that messages use -> the provider's template: an id, or an id and the order of its variables.

    `verification_code` is the codes' (variables code and expiresIn); `message` carries messages that name no
    template (variable message).
    """


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
    """Number, sender name or messaging service (MG...) the messages come from."""


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
    provider: Provider = "aliyun"
    """Who sends messages that name no provider."""
    failover: Annotated[tuple[Provider, ...], *CommaList] = ()
    """Who is asked, in this order, when the provider of a message is down."""
    timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds a provider gets for its whole answer."""
    providers: SmsProviders = SmsProviders()
    """The providers' own settings."""
    max_per_minute: int = Field(default=10, ge=1)
    """Ordinary messages a minute and provider; raise it to your contract."""

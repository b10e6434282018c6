"""The sections smtp and email."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from cloudq_tui.settings import Section, read_secret
from tasks.contacts import parse_mailbox
from tasks.settings.common import FolderOrFile, Folders

STANDARD_PORTS = {"none": 25, "starttls": 587, "tls": 465}


def _address_or_nothing(text: str) -> str:
    if text:
        parse_mailbox(text)
    return text


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
    """Mails in one send-batch-email job; a longer list becomes several jobs. Also numbers of SMS, and targets."""
    batch_pause: int = Field(default=0, ge=0, le=60_000)
    """Milliseconds between two mails of a batch."""
    max_recipients: int = Field(default=50, ge=1, le=1000)
    """Most addresses (to, cc and bcc) of one mail."""
    attachment_roots: Folders = ()
    """Folders from which files may be attached by path; none unless said."""
    max_attachment_size: int = Field(default=25 * 1024 * 1024, ge=1)
    """Bytes the attached files of one mail may have together."""

"""What every section shares: strictness, lists in variables, secrets in files."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import NoDecode

from cloudq_tui.errors import SettingsError


def _split(value: object) -> object:
    """Environment variables and flags carry lists as `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaList = (NoDecode, BeforeValidator(_split))


class Section(BaseModel):
    """A part of the settings: unknown keys are refused, values never show in an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class SecretUrl(SecretStr):
    """A URL that is secret as a whole, since its path or host is a token; never accepted from the YAML file."""


def read_secret(key: str, path: Path | None) -> SecretStr | None:
    """The secret kept in a file (its last line end removed); None without a file.

    Raises SettingsError naming `key` when the file cannot be read or is empty.
    """
    if path is None:
        return None
    try:
        secret = path.expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(f"{key}: {path}: {reason}") from None
    if not secret:
        raise SettingsError(f"{key}: {path}: the file is empty")
    return SecretStr(secret)


def xdg_folder(variable: str, fallback: str) -> Path:
    """Our folder below an XDG base folder, which by its specification counts only when absolute."""
    given = Path(os.environ.get(variable, ""))
    return (given if given.is_absolute() else Path.home() / fallback) / "cloudq-tui"

"""Kinds of values that several sections have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode


def _paths(value: object) -> object:
    """Environment variables carry lists as `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


FolderOrFile = Annotated[Path, AfterValidator(_absolute)]
Folders = Annotated[tuple[FolderOrFile, ...], NoDecode, BeforeValidator(_paths)]

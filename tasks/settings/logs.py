"""The section logs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cloudq_tui.settings import Section
from tasks.settings.common import Folders

SetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class LogSet(Section):
    """Files that jobs ask for by one name."""

    paths: tuple[str, ...] = Field(min_length=1)
    """Patterns inside `logs.roots`, as a job may give them."""
    format: Literal["auto", "text", "json", "combined"] = "auto"
    """What analyze-logs takes them for unless the job says."""


class LogSettings(Section):
    roots: Folders = ()
    """Folders whose files may be archived, removed and read; without them log jobs fail and say so."""
    sets: dict[SetName, LogSet] = Field(default_factory=dict)
    """Named sets of files."""
    max_files: int = Field(default=100_000, ge=1)
    """A job whose patterns match more files than this fails before it touches one."""
    max_unpacked: int = Field(default=20 * 1024**3, ge=1)
    """Bytes read from one compressed file; of what is beyond, analyze-logs counts nothing and says so."""

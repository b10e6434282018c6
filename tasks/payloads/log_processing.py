"""The payloads of the queue log-processing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tasks.payloads.base import Payload, plain_list
from tasks.payloads.paths import PatternText

LogFormat = Literal["auto", "text", "json", "combined"]
Paths = Annotated[list[PatternText], Field(min_length=1, max_length=100), BeforeValidator(plain_list)]
SetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Seconds = Annotated[int, Field(ge=0, le=100 * 366 * 86_400)]


class LogFiles(Payload):
    """Which files."""

    paths: Paths | None = None
    """Patterns inside `logs.roots` of the worker: absolute, or relative to each root. `*`, `?`, `[...]` within a
    name, `**` for any folders; no link is followed and hidden names match only a pattern that begins with a dot."""
    set_: SetName | None = Field(default=None, alias="set")
    """A named set of such patterns, from `logs.sets` of the worker's settings."""

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.paths is None) == (self.set_ is None):
            raise ValueError("needs exactly one of paths and set")
        return self


class ArchivePolicy(Payload):
    """How to archive."""

    compression: Literal["gzip", "zstd"] = "gzip"
    """gzip makes NAME.gz, zstd makes NAME.zst; a name that is taken gets a number: NAME.1.gz."""
    level: Annotated[int, Field(ge=1, le=19)] | None = None
    """1 to 9 for gzip, 1 to 19 for zstd; 6 and 3 unless said."""
    older_than: Seconds = 0
    """Seconds since a file was last written; younger ones stay."""

    @model_validator(mode="after")
    def _level_fits(self) -> Self:
        if self.compression == "gzip" and (self.level or 1) > 9:
            raise ValueError("level: gzip has 1 to 9")
        return self


class ArchiveLogs(LogFiles):
    """Each file is compressed beside itself, read back, compared by checksum, and only then removed."""

    policy: ArchivePolicy = ArchivePolicy()
    """How to archive."""


class CleanPolicy(Payload):
    """What goes: all that is too old, then the oldest until the rest is small enough."""

    older_than: Seconds | None = None
    """Seconds since a file was last written; older ones go."""
    max_total_bytes: Annotated[int, Field(ge=0)] | None = None
    """Most bytes that all the files together may keep."""
    dry_run: bool = False
    """Say what would go and touch nothing."""

    @model_validator(mode="after")
    def _a_rule(self) -> Self:
        if self.older_than is None and self.max_total_bytes is None:
            raise ValueError("needs olderThan, maxTotalBytes or both")
        return self


class CleanLogs(LogFiles):
    """Files are removed by age and by their total size."""

    policy: CleanPolicy
    """What goes."""


class AnalyzePolicy(Payload):
    """What to look for."""

    format: LogFormat | None = None
    """auto (the default) looks at each file's first lines; text; json, an object per line; combined (nginx, Apache)."""
    top: Annotated[int, Field(ge=1, le=100)] = 20
    """How many of the most frequent messages to name."""


class AnalyzeLogs(LogFiles):
    """Files, plain or gzip or zstd, are counted: levels, most frequent messages, lines per minute."""

    policy: AnalyzePolicy = AnalyzePolicy()
    """What to look for."""

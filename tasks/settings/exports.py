"""The section exports: where rows come from, the queries that may be asked, and where files go."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from cloudq_tui.settings import Section, read_secret
from tasks.settings.common import FolderOrFile

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
ParamName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
ParamType = Literal["string", "integer", "number", "decimal", "boolean", "date", "datetime"]

# What SQLAlchemy reads as a bound parameter in a text.
_BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")


class ParamSettings(Section):
    """One bound parameter of a query."""

    type: ParamType = "string"
    """What a job must give."""
    many: bool = False
    """A list of such values, for `IN :name`."""
    required: bool = True
    """False: NULL when a job does not give it."""
    default: str | int | float | bool | None = None
    """Taken when a job does not give it."""


class QuerySettings(Section):
    """One query, by its name."""

    sql: str = Field(min_length=1)
    """One SELECT; values only as bound parameters such as `:since`."""
    params: dict[ParamName, ParamSettings] = Field(default_factory=dict)
    """The parameters of `sql`."""
    count: bool = False
    """Count the rows first, so that the progress knows its end; costs a query."""
    estimate: int | None = Field(default=None, ge=1)
    """About how many rows there are: for the progress, instead of counting."""

    @model_validator(mode="after")
    def _params_are_declared(self) -> Self:
        used = set(_BOUND.findall(self.sql))
        if missing := sorted(used - set(self.params)):
            raise ValueError(f"sql uses :{missing[0]}, which params does not declare")
        if idle := sorted(set(self.params) - used):
            raise ValueError(f"params declares {idle[0]}, which sql does not use")
        return self


class SourceSettings(Section):
    """One database."""

    url: SecretStr = SecretStr("")
    """SQLAlchemy URL such as postgresql://reader@db.internal/shop or sqlite:////var/lib/shop.db."""
    password: SecretStr | None = None
    """Password; only from the environment, or use password_file."""
    password_file: FolderOrFile | None = None
    """A file that holds the password and nothing else."""
    connect_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds until a connection must stand."""
    statement_timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds until the first rows, or the next ones, must come."""
    read_only: bool = True
    """Have the database refuse writes in these sessions (PostgreSQL, MySQL, SQLite)."""
    queries: dict[Name, QuerySettings] = Field(default_factory=dict)
    """The queries that may be asked."""

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"^[a-z][a-z0-9+_]*://", value.get_secret_value()):
            raise ValueError("must be a SQLAlchemy URL, such as postgresql://user@host/database")
        return value

    def secret(self, name: str) -> str | None:
        """The password beside the URL, if any. Raises SettingsError when password_file cannot be read."""
        found = self.password or read_secret(f"exports.sources.{name}.password_file", self.password_file)
        return found.get_secret_value() if found else None


class ExportSettings(Section):
    root: FolderOrFile | None = None
    """Folder for the files; without it export jobs fail and say so."""
    sources: dict[Name, SourceSettings] = Field(default_factory=dict)
    """The databases and their queries; the reports ask them too."""
    neutralise_formulas: bool = True
    """Make text that a spreadsheet would run as a formula plain: csv puts a ' before it, xlsx marks it as text."""
    fetch_size: int = Field(default=5000, ge=1, le=100_000)
    """Rows fetched at a time, fewer of wide ones; what a job holds in memory grows with it."""
    max_rows: int = Field(default=0, ge=0)
    """An export of more rows fails; 0: no limit."""

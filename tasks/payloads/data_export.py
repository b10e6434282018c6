"""The payloads of the queue data-export."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.contacts import writable
from tasks.payloads.base import Payload

Scalar = Annotated[str, Field(max_length=10_000), AfterValidator(writable)] | int | float | bool | None
Params = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")],
        Scalar | Annotated[list[Scalar], Field(max_length=10_000)],
    ],
    Field(max_length=100),
]
ConfiguredName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class ExportData(Payload):
    """The rows of one configured query as a file."""

    source: ConfiguredName
    """One of `exports.sources` of the worker's settings."""
    query: ConfiguredName
    """One of the source's queries, by name; SQL is never taken from a payload."""
    params: Params | None = None
    """Values for the parameters that the query declares; dates and times as ISO 8601 text."""
    format: Literal["csv", "jsonl", "xlsx", "parquet"]
    """csv (RFC 4180, UTF-8), jsonl (one JSON object a line), xlsx or parquet."""
    compression: Literal["gzip", "zstd"] | None = None
    """Of the file for csv and jsonl, of the columns inside it for parquet; xlsx is compressed by itself."""

    @model_validator(mode="after")
    def _xlsx_is_a_zip(self) -> Self:
        if self.format == "xlsx" and self.compression is not None:
            raise ValueError("xlsx is compressed by itself and takes no compression")
        return self

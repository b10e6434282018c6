"""The payloads of the queue report-generation."""

from __future__ import annotations

from typing import Literal

from tasks.payloads.base import Payload
from tasks.payloads.data_export import ConfiguredName, Params


class GenerateReport(Payload):
    """One report as a file."""

    report: ConfiguredName
    """`queue-health`, or one of `reports.definitions` of the worker's settings."""
    params: Params | None = None
    """Values for the parameters of the report's queries; queue-health takes `queues`, a list of names."""
    format: Literal["html", "pdf"] = "html"
    """One file either way: html carries its pictures inside."""

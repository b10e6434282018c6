"""Which class speaks to which kind of Redis: the one place that knows both, one server and a cluster."""

from __future__ import annotations

from typing import Any

from cloudq_tui.engine.cluster import ClusterEngine
from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.cluster_queries import ClusterExamination, ClusterReader
from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.examination import Examination
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine


def engine_for(connection: Connection, **options: Any) -> QueueEngine:
    """The writing half; `options` are QueueEngine's. Raises SettingsError for what a cluster cannot keep."""
    if isinstance(connection, ClusterConnection):
        return ClusterEngine(connection, **options)
    return QueueEngine(connection, **options)


def reader_for(connection: Connection, **options: Any) -> QueueReader:
    """The reading half; `options` are QueueReader's."""
    return (
        ClusterReader(connection, **options)
        if isinstance(connection, ClusterConnection)
        else QueueReader(connection, **options)
    )


def examination_for(connection: Connection, **options: Any) -> Examination:
    """What doctor looks through; `options` are Examination's."""
    if isinstance(connection, ClusterConnection):
        return ClusterExamination(connection, **options)
    return Examination(connection, **options)

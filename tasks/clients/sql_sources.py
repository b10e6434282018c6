"""The databases of the settings, by name, with the queries that may be asked of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudq_tui.errors import PermanentFailure
from tasks.clients.named_query import NamedQuery
from tasks.clients.sql import SqlSource


class SqlSources:
    """`connect` makes a source by its name when it is first asked for, since that reads its password."""

    def __init__(self, queries: Mapping[str, Mapping[str, NamedQuery]], connect: Callable[[str], SqlSource]) -> None:
        self._queries = queries
        self._connect = connect

    def find(self, source: str, query: str) -> tuple[SqlSource, NamedQuery]:
        """Raises PermanentFailure for a name that the settings do not have."""
        if source not in self._queries:
            raise PermanentFailure(f"no source {source!r} in exports.sources of the worker's settings")
        if query not in self._queries[source]:
            raise PermanentFailure(f"source {source!r} has no query {query!r}")
        return self._connect(source), self._queries[source][query]

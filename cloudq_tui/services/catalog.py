"""What can be enqueued: the jobs this process knows, and those that workers say they can run.

A process that loaded the task module checks a payload by the job's own model; any other knows from the published
catalog whether somebody serves the job, and leaves the payload to the worker's check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from cloudq_tui.errors import NoProcessor
from cloudq_tui.models.job import Backoff


class JobDefinition(Protocol):
    """One job an application offers: where it belongs, its defaults, and the check of its payload."""

    @property
    def queue(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def retries(self) -> int | None:
        """None: the queue's setting."""
        ...

    @property
    def backoff(self) -> Backoff | None:
        """None: the queue's setting."""
        ...

    @property
    def timeout(self) -> timedelta | None: ...

    def check(self, data: Any) -> dict[str, Any]:
        """The payload as plain wire data. Raises InvalidPayload naming field and reason."""
        ...

    def schema(self) -> dict[str, Any]:
        """The payload's JSON schema."""
        ...


class Catalog:
    """The definitions of this process by (queue, job name)."""

    def __init__(self, definitions: Iterable[JobDefinition] = ()) -> None:
        self._own = {(one.queue, one.name): one for one in definitions}

    def own(self, queue: str, name: str) -> JobDefinition | None:
        return self._own.get((queue, name))

    def names(self, queue: str) -> list[str]:
        return sorted(name for owner, name in self._own if owner == queue)

    def queues(self) -> set[str]:
        return {queue for queue, _ in self._own}

    def published(
        self, queue: str, name: str, entries: Mapping[tuple[str, str], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """What workers published of a job. Raises NoProcessor saying what the queue does offer."""
        entry = entries.get((queue, name))
        if entry is None:
            offered = {other for owner, other in entries if owner == queue} | set(self.names(queue))
            raise NoProcessor(_refusal(queue, name, offered))
        return entry


def _refusal(queue: str, name: str, offered: Collection[str]) -> str:
    if not offered:
        return f"queue {queue!r} has no processor yet, so nobody could run {name!r}; nothing was queued"
    return f"queue {queue!r} has no job {name!r}; it has {', '.join(sorted(offered))}"

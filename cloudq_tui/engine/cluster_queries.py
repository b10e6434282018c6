"""What is looked at on a Redis Cluster: the looks that span queues, put together from those at each slot or node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cloudq_tui.engine import keys
from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.examination import STEP, Examination, ServerFacts
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.rows import read_status
from cloudq_tui.engine.slots import Call, SlotCalls, script_call
from cloudq_tui.models.queue import QueueStatus


class ClusterReader(QueueReader):
    """Reads on one cluster. What it says of several queues was true within one call, not at one moment."""

    def __init__(self, connection: ClusterConnection, *, prefix: str = "cloudq", clock: str = "clock") -> None:
        super().__init__(connection, prefix=prefix, clock=clock)
        self._cluster = connection
        self._slots = SlotCalls(connection)

    def status(self, queues: Sequence[str]) -> list[QueueStatus]:
        rows = self._slots.run([self._call("status", self._base(queue), []) for queue in queues])
        return [read_status(row, name) for name, (row,) in zip(queues, rows, strict=True)]

    # --- inner ---

    def _call(self, name: str, base: str, args: Sequence[Any]) -> Call:
        return script_call(self._scripts[name], [base], args)

    def _run(self, name: str, bases: list[str], args: list[Any]) -> Any:
        return self._slots.run([script_call(self._scripts[name], bases, args)])[0]

    def _overview(self, queues: Sequence[str], active_limit: int) -> list[Any]:
        """A pipeline to each node, then each master's own memory, then the list of queues."""
        looks = [self._call("snapshot", self._base(queue), [active_limit]) for queue in queues]
        *found, present = self._slots.run([*looks, self._call("workers", keys.shared_base(self.prefix), [])])
        server, memories = {}, []
        for node in self._cluster.nodes():
            with node.guard():
                pipe = node.client.pipeline(transaction=False)
                pipe.info("server")
                pipe.info("memory")
                server, memory = pipe.execute()
            memories.append(memory)
        answer = [max((now for now, _ in found), default=0), *(row for _, row in found)]
        return [answer, present, server, _fullest(memories), self.known_queues()]


class ClusterExamination(Examination):
    """The same flaws: each lies within one queue, and so within one slot."""

    def __init__(
        self,
        connection: ClusterConnection,
        *,
        prefix: str = "cloudq",
        limiter: tuple[int, int] = (0, 0),
        clock: str = "clock",
        step: int = STEP,
    ) -> None:
        super().__init__(connection, prefix=prefix, limiter=limiter, clock=clock, step=step)
        self._cluster = connection
        self._slots = SlotCalls(connection)

    def server(self) -> ServerFacts:
        """The facts of the master that fares worst: one that fails, is full, does not persist, or may forget keys."""
        return min((each.server() for each in self._at_each_node()), key=_health)

    def recorded(self) -> Iterator[tuple[str, list[bytes]]]:
        for each in self._at_each_node():
            yield from each.recorded()

    # --- inner ---

    def _at_each_node(self) -> list[Examination]:
        return [Examination(node, prefix=self._prefix, step=self._step) for node in self._cluster.nodes()]

    def _run(self, name: str, queue: str, args: Sequence[Any]) -> Any:
        call = script_call(self._scripts[name], [self._base(queue)], args)
        return self._slots.run([call], repeat=False)[0]


def _fullest(memories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Where every master has a limit, the one that is nearest to it, since it is the first to refuse jobs; else the
    sum of what they use."""
    if memories and all(memory.get("maxmemory") for memory in memories):
        return max(memories, key=lambda memory: float(memory["used_memory"] / memory["maxmemory"]))
    return {"used_memory": sum(memory.get("used_memory", 0) for memory in memories), "maxmemory": 0}


def _health(facts: ServerFacts) -> tuple[bool, bool, bool, bool]:
    return not facts.failing, not facts.full, facts.aof, facts.eviction == "noeviction"

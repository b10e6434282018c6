"""Calls on keys of several slots: one pipeline to each node that holds some of them.

redis-py's own pipeline for clusters refuses EVALSHA and re-sends what a broken connection may have done already, so
each node is given an ordinary pipeline here; what a node turned away is asked again where the cluster says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import AskError, ClusterDownError, NoScriptError, RedisClusterException, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.scripts import Script

# The node did nothing, so that it is safe to ask again, and redis-py knows whom.
_TURNED_AWAY = (NoScriptError, AskError, TryAgainError, ClusterDownError)  # MovedError is an AskError


@dataclass(frozen=True, slots=True)
class Call:
    """One command; all its keys are in the slot of `key`. `text` is the script that EVALSHA names."""

    key: str
    command: tuple[Any, ...]
    text: str = ""


def script_call(script: Script, keys: Sequence[str], args: Iterable[Any]) -> Call:
    """The call of a script on keys of one slot."""
    return Call(keys[0], ("EVALSHA", script.sha, len(keys), *keys, *args), script.text)


class SlotCalls:
    """Runs calls on one cluster. What a node did is never taken back because another one failed."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection

    def run(self, calls: Sequence[Call], *, repeat: bool = True) -> list[Any]:
        """The answers, in order. Raises what the first of the calls that failed met, after all were tried."""
        answers = self.attempt(calls, repeat=repeat)
        self.raise_first(answers)
        return answers

    def attempt(self, calls: Sequence[Call], *, repeat: bool = True) -> list[Any]:
        """The answers, in order; an error in the place of each call that failed.

        `repeat`: the calls say the same thing twice, so what was lost with its connection is sent once more.
        """
        answers: list[Any] = [None] * len(calls)
        lost = self._round(calls, range(len(calls)), answers)
        if lost and repeat:
            self._look_again()
            self._round(calls, lost, answers)
        return answers

    def raise_first(self, answers: Iterable[Any]) -> None:
        """Raise the first error among the answers, as QueueUnavailable or QueueFull."""
        for answer in answers:
            if isinstance(answer, Exception):
                with self._connection.guard():
                    raise answer

    # --- inner ---

    def _round(self, calls: Sequence[Call], wanted: Iterable[int], answers: list[Any]) -> list[int]:
        """Fills in the answers that are wanted; returns which were lost with their connection."""
        lost: list[int] = []
        for node, indexes in self._by_node(calls, wanted, answers):
            try:
                pipe = self._connection.client.get_redis_connection(node).pipeline(transaction=False)
                for index in indexes:
                    pipe.execute_command(*calls[index].command)
                found = pipe.execute(raise_on_error=False)
            except (RedisError, OSError) as error:
                found = [error] * len(indexes)
            for index, answer in zip(indexes, found, strict=True):
                answers[index] = answer
                if isinstance(answer, _TURNED_AWAY):
                    answers[index] = self._ask_elsewhere(calls[index])
                elif isinstance(answer, RedisConnectionError | OSError):
                    lost.append(index)
        return lost

    def _by_node(
        self, calls: Sequence[Call], wanted: Iterable[int], answers: list[Any]
    ) -> Iterable[tuple[Any, list[int]]]:
        groups: dict[str, tuple[Any, list[int]]] = {}
        for index in wanted:
            try:
                node = self._connection.client.get_node_from_key(calls[index].key)
            except (RedisError, RedisClusterException, OSError) as error:
                answers[index] = error
            else:
                groups.setdefault(node.name, (node, []))[1].append(index)
        return groups.values()

    def _ask_elsewhere(self, call: Call) -> Any:
        command = call.command
        if call.text:
            command = ("EVAL", call.text, *command[2:])
        try:
            return self._connection.client.execute_command(*command)
        except (RedisError, RedisClusterException, OSError) as error:
            return error

    def _look_again(self) -> None:
        """A node is gone: its slots may have gone to another one."""
        try:
            self._connection.client.nodes_manager.initialize()
        except (RedisError, RedisClusterException, OSError):
            return  # the second try says what is wrong

"""How a verb's script is run: at once, or sent now and read later; tried again where that says the same thing twice."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from cloudq_tui.engine.connection import Connection
from cloudq_tui.engine.records import Pending
from cloudq_tui.engine.scripts import Scripts, Sent, evaluate
from cloudq_tui.engine.shared import SharedVerbs


class ScriptCalls(SharedVerbs):
    """Runs scripts on one Redis. `clock` names the scripts' source of time."""

    def __init__(self, connection: Connection, prefix: str, clock: str) -> None:
        super().__init__(connection, prefix)
        self._scripts = Scripts(clock)

    def _once(self, name: str, bases: list[str], args: list[Any]) -> Any:
        with self.connection.guard():
            return evaluate(self.connection.client, self._scripts[name], bases, args)

    def _repeatable(self, name: str, bases: list[str], args: list[Any]) -> Any:
        return self._begin(name, bases, args)()

    def _begin(self, name: str, bases: list[str], args: list[Any]) -> Pending[Any]:
        """Send now, read later; a lost connection is tried once more, when the answer is wanted."""
        connection, script = self.connection, self._scripts[name]
        sent: Sent | RedisConnectionError
        with connection.guard():
            try:
                sent = Sent(connection.lines, script, bases, args)
            except RedisConnectionError as error:
                sent = error

        def answer() -> Any:
            with connection.guard():
                try:
                    if isinstance(sent, RedisConnectionError):
                        raise sent
                    return sent.answer()
                except RedisConnectionError:
                    if connection.revive is not None and not connection.revive():
                        raise
                return evaluate(connection.client, script, bases, args)

        return Pending(answer, sent.arrived) if isinstance(sent, Sent) else Pending(answer)

"""Loads lua/, resolves includes, and runs scripts by EVALSHA with reload on NOSCRIPT."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from cloudq_tui.engine.keys import SUFFIXES
from cloudq_tui.models.metrics import BOUNDS_MS

_INCLUDE: Final = re.compile(r"^-- include ([a-z_]+)$", re.MULTILINE)
_KEY: Final = re.compile(r"\bK\.([a-z]+)\b")
_BOUNDS: Final = f"local BOUNDS = {{ {', '.join(map(str, BOUNDS_MS))} }}\n"


class Pool(Protocol):
    """Where a connection comes from and goes back to."""

    def get_connection(self) -> Any: ...

    def release(self, connection: Any) -> None: ...


class Script:
    """One Lua file with its includes; `sha` is what EVALSHA names it by."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The verbs as Lua. `clock` names the include that reads the time: tests load one with an offset."""

    def __init__(self, clock: str = "clock") -> None:
        self._clock = clock
        self._loaded: dict[str, Script] = {}

    def __getitem__(self, name: str) -> Script:
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = Script(name, self._build(name))
        return script

    def _build(self, name: str) -> str:
        seen: set[str] = set()

        def resolve(text: str) -> str:
            def one(match: re.Match[str]) -> str:
                part = match.group(1)
                if part in seen:
                    return ""
                seen.add(part)
                source = self._clock if part == "clock" else part
                return resolve(_read(f"include/{source}.lua"))

            return _INCLUDE.sub(one, text)

        return _with_constants(resolve(_read(f"{name}.lua")))


def _with_constants(text: str) -> str:
    """`BOUNDS` are a histogram's, where a script asks for them.

    `K.name` becomes the suffix itself: to make a table of all of them would cost each call as much as a command.
    A script that chooses one by its name gets the table all the same.
    """
    folded = _KEY.sub(lambda match: f"'{SUFFIXES[match.group(1)]}'", text)
    bounds = _BOUNDS if "BOUNDS" in folded else ""
    table = _key_table() if "K[" in folded else ""
    return bounds + table + folded


@cache
def _key_table() -> str:
    entries = ", ".join(f"{name} = '{suffix}'" for name, suffix in SUFFIXES.items())
    return f"local K = {{ {entries} }}\n"


@cache
def _read(path: str) -> str:
    return files("cloudq_tui.engine").joinpath("lua", path).read_text(encoding="utf-8")


class Sent:
    """A script that is on its way; its answer is read when it is needed. To be read once, by whoever may wait.

    It speaks through a pooled connection itself: what redis-py's `execute_command` adds around that (a retry that is
    never wanted here, tracing, callbacks) costs as much as the rest of a short round trip. `first` is a command that
    travels ahead of the script, which Redis begins when that one has ended; its answer is passed over.
    """

    __slots__ = ("_args", "_first", "_keys", "_line", "_pool", "_script")

    def __init__(
        self, pool: Pool, script: Script, keys: list[str], args: list[Any], *, first: tuple[Any, ...] = ()
    ) -> None:
        self._pool = pool
        self._first = first
        self._script = script
        self._keys = keys
        self._args = args
        self._send("EVALSHA", script.sha)

    def arrived(self) -> bool:
        """Whether `answer` will find something to read at once."""
        try:
            return bool(self._line.can_read())
        except RedisConnectionError:
            return True  # what went wrong is for `answer` to say

    def answer(self) -> Any:
        try:
            return self._read()
        except NoScriptError:
            self._send("EVAL", self._script.text)
            return self._read()

    def _send(self, command: str, script: str) -> None:
        line = self._pool.get_connection()
        try:
            packed = hiredis.pack_command((command, script, len(self._keys), *self._keys, *self._args))
            if self._first:
                packed = hiredis.pack_command(self._first) + packed
            line.send_packed_command((packed,), check_health=False)
        except BaseException:
            self._pool.release(line)
            raise
        self._line = line

    def _read(self) -> Any:
        line = self._line
        try:
            if self._first:
                self._pass_over_first(line)
            # A read that is interrupted disconnects, so no later call can take this one's answer for its own.
            return line.read_response()
        finally:
            self._pool.release(line)

    def _pass_over_first(self, line: Any) -> None:
        self._first = ()
        try:
            line.read_response()
        except ResponseError:
            line.disconnect()  # the script's own answer is not for a later call
            raise


def evaluate(client: Any, script: Script, keys: list[str], args: list[Any]) -> Any:
    """Run `script` in one round trip, loading it first where the server does not know it."""
    return Sent(client.connection_pool, script, keys, args).answer()

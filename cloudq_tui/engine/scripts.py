"""Loads lua/, resolves includes, and runs scripts by EVALSHA with reload on NOSCRIPT."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import NoScriptError

from cloudq_tui.engine.keys import SUFFIXES

_INCLUDE: Final = re.compile(r"^-- include ([a-z_]+)$", re.MULTILINE)


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

        return _key_table() + resolve(_read(f"{name}.lua"))


@cache
def _key_table() -> str:
    entries = ", ".join(f"{name} = '{suffix}'" for name, suffix in SUFFIXES.items())
    return f"local K = {{ {entries} }}\n"


@cache
def _read(path: str) -> str:
    return files("cloudq_tui.engine").joinpath("lua", path).read_text(encoding="utf-8")


def evaluate(client: Any, script: Script, keys: list[str], args: list[Any]) -> Any:
    """Run `script` in one round trip, loading it first where the server does not know it."""
    try:
        return client.evalsha(script.sha, len(keys), *keys, *args)
    except NoScriptError:
        return client.eval(script.text, len(keys), *keys, *args)

"""Renders Jinja2 templates in a sandbox: everything is escaped, nothing outside the templates' folder is read.

Templates under `cloudq/` are the platform's own; yours may extend `cloudq/base.html`.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cloudq_tui.errors import PermanentFailure
from tasks.clients.table_files import as_text
from tasks.contacts import peer_words

_OWN = Path(__file__).parents[1] / "templates"
_PREFIX = "cloudq/"
_MAX_SIZE = 64 << 20  # characters of one report
_MAX_REPEATED = 100_000
_NOTHING = "\N{EN DASH}"
_FAULTS = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError)


class _Folder(BaseLoader):
    """Files below one folder, links resolved; names with the platform's prefix come from the package."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def get_source(
        self,
        environment: Environment,  # noqa: ARG002 - the signature is the library's
        template: str,
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        root = _OWN if template.startswith(_PREFIX) else self._root
        if root is None:
            raise TemplateNotFound(template)
        base = Path(os.path.realpath(root))
        path = Path(os.path.realpath(base / template))
        if not path.is_relative_to(base) or not path.is_file():
            raise TemplateNotFound(template)
        try:
            return path.read_text(encoding="utf-8"), template, lambda: False
        except (OSError, UnicodeDecodeError) as error:
            raise PermanentFailure(f"template {template}: {getattr(error, 'strerror', 'not UTF-8 text')}") from None


# A statement, not `{{ ... }}`: Jinja leaves out what a child template writes outside its blocks.
_BEGIN, _END = ("block_begin", "{%"), ("block_end", "%}")
_CALL = (("name", "_wanted"), ("lparen", "("), ("rparen", ")"))
_ASK = (_BEGIN, ("name", "if"), *_CALL, _END, _BEGIN, ("name", "endif"), _END)
_check: ContextVar[Callable[[], None]] = ContextVar("check")


def _wanted() -> None:
    _check.get()()


class _AskInLoops(Extension):
    """Begins the body of every loop and macro with `{% if _wanted() %}{% endif %}`: loops that write nothing, and
    macros that call themselves, would never end in a thread."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        opening = body = False
        for token in stream:
            yield token
            body = token.test_any("name:for", "name:macro") if opening else body and token.type != "block_begin"
            opening = token.type == "block_begin"
            if body and token.type == "block_end":
                body = False
                for kind, text in _ASK:
                    yield Token(token.lineno, kind, text)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Besides Jinja's own fences: no operator that makes something huge out of nothing."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("a template may not raise to a power")
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other > _MAX_REPEATED:
                raise SecurityError("a template may not repeat something so often")
        return super().call_binop(context, operator, left, right)


class ReportTemplates:
    """The templates of a folder. Without one only the platform's own are there."""

    def __init__(self, root: Path | None) -> None:
        self._environment = _Sandbox(
            loader=_Folder(root),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_AskInLoops],
        )
        self._environment.globals["_wanted"] = _wanted
        self._environment.globals.pop("lipsum")  # writes as much as it is asked for
        self._environment.filters |= {"cell": as_text, "percent": _percent, "milliseconds": _milliseconds}
        self._environment.filters |= {"moment": _moment, "number": _number}

    def render(self, name: str, context: Mapping[str, Any], *, check: Callable[[], None]) -> str:
        """The report as HTML. `check` is called between pieces, in each turn of a loop and by each macro.

        Raises PermanentFailure for what a template does.
        """
        _check.set(check)
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._environment.get_template(name).generate(context):
                check()
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_SIZE:
                    raise SecurityError(f"the report is larger than {_MAX_SIZE} characters")
        except TemplateNotFound as error:
            raise PermanentFailure(f"there is no template {error.name!r} in reports.templates") from None
        except _FAULTS as error:
            raise PermanentFailure(f"template {name}: {peer_words(str(error) or type(error).__name__)}") from None
        return "".join(pieces)


def _number(value: Any, digits: int = 0) -> str:
    return _NOTHING if value is None else f"{value:,.{digits}f}"


def _percent(value: Any) -> str:
    return _NOTHING if value is None else f"{100 * value:.1f} %"


def _milliseconds(value: Any) -> str:
    if value is None:
        return _NOTHING
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def _moment(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S %Z").strip() if isinstance(value, dt.datetime) else as_text(value)

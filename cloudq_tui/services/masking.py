"""Masks secrets and personal data on their way to a view, a log or an API answer.

Knows keys and shapes, not queues: what stands under a key such as `password` or `code` is hidden whole, phone
numbers and e-mail addresses in part, in nested data and in free text. It hides rather too much than too little,
and changes only what is shown: a worker reads the stored data. Imports models only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cloudq_tui.models.job import Job

HIDDEN = "***"

# Compared with a key stripped to its lower-case letters, so that apiKey, api_key and Api-Key are one.
_SECRET_PARTS = (
    "password", "passwd", "passphrase", "secret", "token", "authorization", "apikey", "accesskey", "privatekey",
    "credential", "cookie", "verificationcode", "signature",
)  # fmt: skip
_SECRET_KEYS = frozenset({"code", "codes", "pass", "pwd", "otp", "pin", "passcode", "auth"})
_PHONE_PARTS = ("phone", "mobile", "msisdn")

# Each pattern takes time in proportion to the text, whatever that holds: a run of letters is begun at its start only
# (the look-behinds), given back never (`++`), or looked into for a bounded stretch.
_MAIL = re.compile(
    r"(?<![\w.!#$%&*+=?^`{|}~-])([\w.!#$%&*+=?^`{|}~-])[\w.!#$%&*+=?^`{|}~-]*+@((?:[\w-]++\.)+[\w-]{2,})"
)
# A number in running text is a phone number when it is international or a Chinese mobile one; any other run of
# digits may as well be an id or a time.
_PHONE = re.compile(r"(?<![\w.+-])(?:\+\d(?:[ ()-]{0,2}\d){7,14}|(?:86)?1[3-9]\d(?:[ -]?\d{4}){2})(?![\w-])")
_SECRET_PAIR = re.compile(
    r"""(?ix) (["']?) (?<![\w-])
    (?=[\w-]*?(?:password|passwd|passphrase|secret|token|authorization|api[_-]?key|access[_-]?key|cookie))
    ([\w-]++) \1 (\s*+[:=]\s*+)
    (?: "(?:[^"\\]|\\.)*+"? | '(?:[^'\\]|\\.)*+'? | (?:bearer|basic)\s+[^\s"',;]+ | [^\s,;&"'}\])]+ )""",
)
# What signs or opens a URL, also one quoted within another: names that say so wherever they are given a value, short
# ones in a query only.
_PARAMETER = re.compile(
    r"""(?ix) ( (?<![\w-]) (?=[\w-]*?(?:signature|credential)) [\w-]++ (?:=|%3d)
    | (?:[?&;\#]|%3f|%26) (?:sig|sign|key|auth|code|pass|pwd|pin|otp|jwt) (?:=|%3d) ) [^\s&\#"'<>]+"""
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_CODE_PAIR = re.compile(r"""(?i)(["']code["']\s*:\s*)(?:"[^"]*"|'[^']*'|\d{4,})""")
_CODE_TEXT = re.compile(
    r"(?i)((?:verification|security|confirmation|login|one[- ]time|auth\w{0,12})\s+code"
    r"|passcode|\botp\b|验证码|code is)"
    r"([^\w]{0,3}(?:is|为|是)?[^\w]{0,3})(?=[A-Za-z-]{0,15}\d)[A-Za-z0-9-]{4,16}"
)
_URL_USER = re.compile(r"""(?<=://)[^\s/?#"'<>]+@""")


def mask_phone(number: str) -> str:
    """The number with the four digits before the last four hidden: 138****8000."""
    digits = re.sub(r"\D", "", number)
    if len(digits) < 8:
        return "****" + digits[-2:] if len(digits) > 4 else "****"
    sign = "+" if number.lstrip().startswith("+") else ""
    return f"{sign}{digits[:-8]}****{digits[-4:]}"


def mask_text(text: str) -> str:
    """Free text with addresses and phone numbers hidden in part, and what is named a secret hidden whole."""
    if not text:
        return text
    text = _SECRET_PAIR.sub(rf"\1\2\1\3{HIDDEN}", text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _CODE_PAIR.sub(rf"\1{HIDDEN}", text)
    text = _CODE_TEXT.sub(rf"\1\2{HIDDEN}", text)
    text = _MAIL.sub(r"\1***@\2", text)
    text = _URL_USER.sub(f"{HIDDEN}@", text)
    return _PHONE.sub(lambda found: mask_phone(found.group()), text)


def mask_data(value: Any) -> Any:
    """A copy of plain data for showing; the shape stays, so that a reader still sees which fields were there."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple):
        return [mask_data(item) for item in value]
    return value


def mask_job(job: Job) -> Job:
    """The job as a person may see it. Who cancelled it stays readable: that is an operator, not a customer."""
    return replace(
        job,
        data=mask_data(job.data),
        result=mask_data(job.result),
        checkpoint=mask_data(job.checkpoint),
        error=job.error if _names_actor(job.error) else mask_text(job.error),
        reason=job.reason if _names_actor(job.reason) else mask_text(job.reason),
        attempts=tuple(
            replace(one, error=mask_text(one.error), traceback=mask_text(one.traceback)) for one in job.attempts
        ),
        logs=tuple(replace(line, text=mask_text(line.text)) for line in job.logs),
    )


def _names_actor(text: str) -> bool:
    return text.startswith(("cancelled by ", "being cancelled by "))


def _mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    """A dict keyed by recipient holds personal data in its keys; two that now look alike are numbered."""
    masked: dict[Any, Any] = {}
    for key, item in value.items():
        shown = plain = mask_text(key) if isinstance(key, str) else key
        number = 1
        while shown in masked:
            number += 1
            shown = f"{plain} ({number})"
        masked[shown] = _field(str(key), item)
    return masked


def _field(key: str, value: Any) -> Any:
    bare = re.sub(r"[^a-z]", "", key.lower())
    if bare in _SECRET_KEYS or any(part in bare for part in _SECRET_PARTS):
        return value if _is_reply_code(bare, value) else _hide(value)
    if any(part in bare for part in _PHONE_PARTS):
        return _phones(value)
    return mask_data(value)


def _is_reply_code(key: str, value: Any) -> bool:
    """SMTP and provider replies are named `code` too; no verification code looks like them."""
    if key not in {"code", "codes"}:
        return False
    if isinstance(value, str):
        return value == "OK" or "." in value
    return isinstance(value, int) and 0 <= value < 1000


def _hide(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) or value == "" else HIDDEN


def _phones(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str | int):
        return mask_phone(str(value))
    if isinstance(value, list | tuple):
        return [_phones(item) for item in value]
    return mask_data(value)


class MaskedRecords(logging.Filter):
    """Masks what a logger is told, traceback included, for whichever handlers write it."""

    _plain = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask_text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            # Formatters take this text rather than make their own.
            record.exc_text = mask_text(self._plain.formatException(record.exc_info))
        return True

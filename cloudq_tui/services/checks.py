"""What a caller may ask of the operations, checked before Redis is: states, graces, spans of time."""

from __future__ import annotations

from datetime import timedelta

from cloudq_tui.errors import Invalid, InvalidOptions
from cloudq_tui.models.job import JobOptions, JobState

MAX_TEXT = 500
"""Characters of what somebody writes and others read."""


def checked_state(state: JobState | str) -> JobState:
    """The state named. Raises Invalid naming the states there are."""
    try:
        return JobState(state)
    except ValueError:
        raise Invalid(f"unknown state {str(state)!r}; choose from {', '.join(JobState)}") from None


def finished_state(state: JobState | str) -> JobState:
    which = checked_state(state)
    if which not in (JobState.FAILED, JobState.COMPLETED):
        raise Invalid(f"only failed and completed jobs can be retried, not {which}")
    return which


def cleanable_state(state: JobState | str) -> JobState:
    which = checked_state(state)
    if which is JobState.ACTIVE:
        raise Invalid("active jobs cannot be cleaned; cancel them instead")
    return which


def checked_options(options: JobOptions | None) -> JobOptions:
    """The options given, or none. Raises InvalidOptions for a mapping: its durations might be seconds or ms."""
    if options is None:
        return JobOptions()
    if not isinstance(options, JobOptions):
        raise InvalidOptions(f"options: must be JobOptions, not {type(options).__name__}")
    return options


def check_text(*given: str) -> None:
    """Raises Invalid for what is no text, too long a one, or none that can be written: a name, an id, a reason."""
    for text in given:
        if not isinstance(text, str):
            raise Invalid(f"names, ids and reasons are text; got {type(text).__name__}")
        if len(text) > MAX_TEXT:
            raise Invalid(f"names, ids and reasons may have {MAX_TEXT} characters; got {len(text):,}")
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise Invalid(f"{text!a} is no Unicode text")


def check_grace(grace: int) -> None:
    check_number(grace, "grace", unit=" ms")


def check_number(number: int, what: str, least: int = 0, unit: str = "") -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 2**63:
        raise Invalid(f"{what} must be a whole number, {least}{unit} or more and below 2^63; got {number!r}")


def milliseconds(span: timedelta | float, what: str) -> int:
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if not isinstance(seconds, int | float) or not 0 < seconds < 366 * 86400:
        given = f"{seconds:g} s" if isinstance(seconds, int | float) else repr(seconds)
        raise Invalid(f"{what} must be more than 0 s and less than a year; got {given}")
    return round(seconds * 1000)

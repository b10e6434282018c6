"""What a caller may ask of the operations, checked before Redis is: states, graces, spans of time."""

from __future__ import annotations

from datetime import timedelta

from cloudq_tui.errors import Invalid, InvalidOptions
from cloudq_tui.models.job import JobOptions, JobState


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


def check_grace(grace: int) -> None:
    if grace < 0:
        raise Invalid(f"grace must not be negative; got {grace} ms")


def milliseconds(span: timedelta | float, what: str) -> int:
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if not 0 < seconds < 366 * 86400:
        raise Invalid(f"{what} must be more than 0 s and less than a year; got {seconds:g} s")
    return round(seconds * 1000)

"""The alert rules: one queue's view and the thresholds in, the rules it breaks out. Pure functions."""

from __future__ import annotations

from cloudq_tui.models.alert import Alert, AlertRule
from cloudq_tui.models.queue import QueueView
from cloudq_tui.settings import QueueAlerts, Settings

MIN_FINISHES = 20
"""Finishes in the window below which a failure rate says nothing."""


def queue_alerts(view: QueueView, settings: Settings, *, now: int) -> tuple[Alert, ...]:
    """The rules `view` breaks at `now` (epoch ms on the server's clock), worst first."""
    if view.problem:
        return (Alert(view.name, AlertRule.SPOILED, view.problem),)
    own = settings.queues.get(view.name)
    limits = settings.alerts.for_queue(view.name, own.alerts if own else QueueAlerts())
    if not limits.enabled:
        return ()
    found = (
        (AlertRule.NO_WORKER, _no_worker(view)),
        (AlertRule.FAILURE_RATE, _failure_rate(view, limits.failure_rate)),
        (AlertRule.OLDEST_WAITING, _oldest_waiting(view, limits.oldest_waiting, now)),
        (AlertRule.WAITING, _waiting(view, limits.waiting)),
        (AlertRule.DURATION, _duration(view, limits.duration_ms)),
    )
    return tuple(Alert(view.name, rule, text) for rule, text in found if text)


def _no_worker(view: QueueView) -> str:
    jobs = view.counts.waiting + view.counts.active + view.counts.delayed
    if view.workers or not jobs:
        return ""
    return f"no live worker for {jobs:,} job{'s' if jobs != 1 else ''}"


def _failure_rate(view: QueueView, limit: float | None) -> str:
    if limit is None or view.failure_rate is None or view.finishes < MIN_FINISHES or view.failure_rate <= limit:
        return ""
    return f"{view.failure_rate:.1%} of {view.finishes:,} finishes failed in 15 min (limit {limit:.0%})"


def _oldest_waiting(view: QueueView, limit: float | None, now: int) -> str:
    if limit is None or view.pause or view.oldest_waiting is None:
        return ""
    age = (now - view.oldest_waiting) / 1000
    return f"the oldest job has waited {_span(age)} (limit {_span(limit)})" if age > limit else ""


def _waiting(view: QueueView, limit: int | None) -> str:
    if limit is None or view.pause or view.counts.waiting <= limit:
        return ""
    return f"{view.counts.waiting:,} jobs wait (limit {limit:,})"


def _duration(view: QueueView, limit: int | None) -> str:
    if limit is None or view.mean_duration is None or view.mean_duration <= limit:
        return ""
    return f"jobs take {view.mean_duration / 1000:.1f} s on average (limit {limit / 1000:g} s)"


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"

"""Why a queue or a job is where it is: a short verdict from what the last look says. Pure functions."""

from __future__ import annotations

from cloudq_tui.models.alert import AlertRule
from cloudq_tui.models.job import Job, JobState
from cloudq_tui.models.queue import LimiterState, Pause, QueueView
from cloudq_tui.tui import render
from cloudq_tui.tui.render import Line
from cloudq_tui.tui.text import visible


def paused(pause: Pause, now: int) -> str:
    """`paused by ops1 12m 40s ago: "disk full"; resumes in 17m 20s`."""
    text = f"paused by {visible(pause.by or 'somebody')} {render.age(now - pause.since)} ago"
    if pause.why:
        text += f': "{visible(pause.why)}"'
    if pause.until is not None:
        text += f"; resumes in {render.age(pause.until - now)}"
    return text


def queue(view: QueueView, now: int) -> list[Line]:
    """What holds a queue up, and what does not."""
    backlog = view.counts.waiting + view.counts.paused
    found: list[Line] = []
    if view.pause is not None:
        found.append((("✗ ", "bad"), (paused(view.pause, now), "plain"), ("   p resume", "accent")))
    if view.workers:
        serve = f"{render.plural(view.workers, 'worker')} serve{_s(view.workers)} it"
        found.append((("✓ ", "good"), (serve, "plain")))
    else:
        found.append((("✗ ", "bad"), ("no live worker serves it", "plain")))
    if view.limiter is not None:
        found.append(_limiter(view.limiter, now))
    if view.concurrency:
        found.append(_concurrency(view))
    told = [alert for alert in view.alerts if alert.rule != AlertRule.NO_WORKER]  # that one stands above
    found += [(("▲ ", "warn"), (visible(alert.text), "plain")) for alert in told]
    counts = view.counts
    found.append(
        (
            ("  ", "plain"),
            (f"{render.exact(backlog)} waiting, {render.exact(counts.active)} active, ", "muted"),
            (f"{render.exact(counts.delayed)} delayed; ", "muted"),
            (f"{render.rate(view.in_rate)}/s in, {render.rate(view.out_rate)}/s out", "muted"),
        )
    )
    return found


def _s(number: int) -> str:
    return "s" if number == 1 else ""


def _limiter(limit: LimiterState, now: int) -> Line:
    per = f"{render.exact(limit.max)} starts in {render.took(limit.duration)}"
    if limit.left:
        return (("✓ ", "good"), (f"limiter: {render.exact(limit.left)} of {per} left", "plain"))
    frees = f", the next in {render.took(max(0, limit.frees_at - now))}" if limit.frees_at else ""
    return (("✗ ", "bad"), (f"limited: none of {per} left{frees}", "plain"))


def _full(view: QueueView) -> bool:
    return 0 < view.concurrency <= view.counts.active


def _concurrency(view: QueueView) -> Line:
    most = f"{render.exact(view.counts.active)} of {render.exact(view.concurrency)} jobs at one time"
    if _full(view):
        return (("✗ ", "bad"), (f"concurrency full: {most}", "plain"))
    return (("✓ ", "good"), (f"concurrency: {most}", "plain"))


def verdict(view: QueueView, now: int) -> str:
    """The same in one short sentence."""
    if view.pause is not None:
        return paused(view.pause, now)
    if not view.workers:
        return "no live worker serves it"
    if view.limiter is not None and not view.limiter.left:
        return "limited: the limiter has no start left"
    if _full(view):
        return f"concurrency full: {render.plural(view.counts.active, 'job')} of this queue run, as many as may"
    return "waits its turn; nothing holds the queue up"


def job(found: Job, view: QueueView | None, now: int) -> str:
    """Why this job is where it is."""
    match found.state:
        case JobState.FAILED:
            return _failed(found)
        case JobState.ACTIVE:
            step = f", {visible(found.step)}" if found.step else ""
            return f"runs on {visible(found.worker or 'a worker')}{step}"
        case JobState.COMPLETED:
            return f"done after {render.plural(max(1, found.attempts_made), 'attempt')}"
        case JobState.DELAYED:
            return _delayed(found, now)
        case _:
            return verdict(view, now) if view is not None else "waits for its turn"


def _failed(found: Job) -> str:
    if found.reason and found.reason != "error":
        return f"failed for good: {visible(found.reason)}"
    if 0 < found.attempts_made <= found.retries:
        tries = found.retries + 1
        return f"failed for good at attempt {found.attempts_made} of {tries}: trying again cannot help"
    text = f"failed for good: {render.plural(found.attempts_made, 'attempt')} used"
    errors = [attempt.error for attempt in found.attempts]
    same = 0
    for error in reversed(errors):
        if error != errors[-1]:
            break
        same += 1
    if same > 1:
        text += ", all with the same error" if same == len(errors) else f", the last {same} with the same error"
    return text


def _delayed(found: Job, now: int) -> str:
    when = f"due in {render.age(found.due - now)}" if found.due is not None else "delayed"
    if found.reason:
        return f"{when}: {visible(found.reason)}"
    if found.attempts_made:
        return f"{when}: backoff, attempt {found.attempts_made + 1} of {found.retries + 1}"
    return when

"""The notification queue: send-notification and send-batch-notification.

Each target of each notification is one item: sent one by one, checkpointed before the next is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cloudq_tui.errors import JobSignal
from cloudq_tui.models.context import JobContext
from tasks.batch import Batch, Outcome
from tasks.clients.notifiers import Note, Notifiers
from tasks.payloads import SendBatchNotification, SendNotification, as_list


@dataclass(frozen=True, slots=True)
class _Item:
    notification: int
    target: str
    content: SendNotification


def send_notification(payload: SendNotification, job: JobContext, *, notifiers: Notifiers) -> Outcome:
    """Send one notification to its targets; ends well when at least one took it."""
    job.update_progress(10, "validate")

    def show(finished: int, total: int) -> None:
        job.update_progress(30 + 50 * finished / total, "send")

    items = _items([payload])
    result = _send_all(items, job, notifiers, show, lambda index: {"target": items[index].target})
    with suppress(JobSignal):
        job.update_progress(100, "record")
    return result


def send_batch_notification(payload: SendBatchNotification, job: JobContext, *, notifiers: Notifiers) -> Outcome:
    """Send many notifications one by one."""

    def show(finished: int, total: int) -> None:
        job.update_progress(100 * finished / total, f"{finished} of {total}")

    items = _items(payload.notifications)

    def describe(index: int) -> dict[str, object]:
        return {"notification": items[index].notification, "target": items[index].target}

    result = _send_all(items, job, notifiers, show, describe)
    with suppress(JobSignal):
        show(result["total"], result["total"])
    return result


def _items(notifications: Sequence[SendNotification]) -> list[_Item]:
    """A target that one notification names twice gets it once."""
    return [
        _Item(number, target, content)
        for number, content in enumerate(notifications)
        for target in dict.fromkeys(as_list(content.targets))
    ]


def _send_all(
    items: Sequence[_Item],
    job: JobContext,
    notifiers: Notifiers,
    show: Callable[[int, int], None],
    describe: Callable[[int], dict[str, object]],
) -> Outcome:
    batch = Batch(job, len(items), "notifications")

    def send(index: int) -> Outcome:
        item = items[index]
        content = item.content
        note = Note(f"{job.id}.{index}", content.title, content.body, content.level, content.kind)
        notifiers.target(item.target).send(note, timeout=job.time_remaining)
        return {"id": note.id}

    batch.run(send, show=show)
    return batch.conclude(describe)

"""The commands that change something. What takes away or starts many asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cloudq_tui.cli.door import JobId, Queue, Undo, Yes, ask, confirm, duration_of, opened
from cloudq_tui.models.job import JobState

if TYPE_CHECKING:
    from cloudq_tui.models.queue import BulkResult

commands = typer.Typer()


@commands.command()
def retry(
    context: typer.Context,
    queue: Queue,
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of the job, or its first characters.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All failed jobs of the queue.")] = False,
    yes: Yes = False,
    undoable: Undo = True,
) -> None:
    """Let one finished job, or all failed ones, run again."""
    if (job_id is None) == (not everything):
        raise typer.BadParameter("give the id of a job, or --all")
    with opened(context) as operations:
        if job_id is None:
            ask(operations, yes, queue, "retry", operations.preview_retry(queue))
            _report("retried", operations.retry_all(queue, undoable=undoable))
        else:
            found = operations.find_job(job_id, queue=queue)
            operations.retry_job(queue, found.id)
            typer.echo(f"{found.id} waits again")


@commands.command()
def remove(context: typer.Context, queue: Queue, job_id: JobId, yes: Yes = False, undoable: Undo = True) -> None:
    """Remove one job that is not active."""
    with opened(context) as operations:
        found = operations.find_job(job_id, queue=queue)
        confirm(operations, yes, f"Remove the {found.state} job {found.id} ({found.name}) from {queue}?")
        operations.remove_job(queue, found.id, undoable=undoable)
        typer.echo(f"{found.id} was removed")


@commands.command()
def promote(context: typer.Context, queue: Queue, job_id: JobId) -> None:
    """Let a delayed job start now."""
    with opened(context) as operations:
        found = operations.find_job(job_id, queue=queue)
        operations.promote_job(queue, found.id)
        typer.echo(f"{found.id} waits")


@commands.command()
def cancel(context: typer.Context, queue: Queue, job_id: JobId) -> None:
    """End a job as failed without running it; an active one is told to stop."""
    with opened(context) as operations:
        found = operations.find_job(job_id, queue=queue)
        was = operations.cancel_job(queue, found.id)
        typer.echo(f"{found.id} is told to stop" if was is JobState.ACTIVE else f"{found.id} was cancelled")


@commands.command()
def pause(
    context: typer.Context,
    queue: Queue,
    duration: Annotated[
        str | None, typer.Argument(help="For how long, such as 15m; until resumed unless said.")
    ] = None,
    why: Annotated[str, typer.Argument(help="The reason others will read.")] = "",
) -> None:
    """Let a queue give no more jobs; active ones go on."""
    if duration is not None and not duration.lstrip("+-.")[:1].isdigit():
        if why:
            raise typer.BadParameter(f"{duration!r} is no duration such as 15m, 2h or 1d")
        why, duration = duration, None
    span = None if duration is None else duration_of(duration)
    with opened(context) as operations:
        operations.pause_queue(queue, why, span)
        typer.echo(f"{queue} is paused" + (f" for {duration}" if duration else ""))


@commands.command()
def resume(context: typer.Context, queue: Queue) -> None:
    """Let a paused queue give jobs again."""
    with opened(context) as operations:
        typer.echo(f"{queue} gives jobs again" if operations.resume_queue(queue) else f"{queue} was not paused")


@commands.command()
def empty(context: typer.Context, queue: Queue, yes: Yes = False, undoable: Undo = True) -> None:
    """Remove all waiting and delayed jobs of a queue."""
    with opened(context) as operations:
        ask(operations, yes, queue, "remove", operations.preview_empty(queue))
        _report("removed", operations.empty_queue(queue, undoable=undoable))


@commands.command()
def clean(
    context: typer.Context,
    queue: Queue,
    grace: Annotated[str, typer.Option(help="Younger jobs stay, such as 24h.")] = "24h",
    state: Annotated[JobState, typer.Option(help="Which jobs.")] = JobState.COMPLETED,
    yes: Yes = False,
    undoable: Undo = True,
) -> None:
    """Remove the jobs of one state that are older than a grace."""
    span = round(duration_of(grace).total_seconds() * 1000)
    with opened(context) as operations:
        ask(operations, yes, queue, "remove", operations.preview_clean(queue, span, state))
        _report("removed", operations.clean_queue(queue, span, state, undoable=undoable))


@commands.command()
def undo(context: typer.Context) -> None:
    """Take back your last remove, empty, clean or retry of all; for ten minutes after it."""
    with opened(context) as operations:
        entry, result = operations.undo()
        _report(f"of the {entry.action} on {entry.queue} put back", result)


def _report(done: str, result: BulkResult) -> None:
    skipped = f", {result.skipped:,} skipped" if result.skipped else ""
    typer.echo(f"{result.moved:,} {done}{skipped}")

"""The commands that look, and change nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudq_tui.cli.door import AsJson, JobId, Queue, opened, print_json
from cloudq_tui.models.job import JobState

commands = typer.Typer()


@commands.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """All queues with their counts, and the alerts that hold now."""
    with opened(context) as operations:
        if as_json:
            from cloudq_tui.services.wire import StatusWire  # noqa: PLC0415

            print_json(StatusWire.of(operations.all_queues_status()).model_dump(by_alias=True))
        else:
            from cloudq_tui.cli import printed  # noqa: PLC0415

            typer.echo(printed.overview(operations.snapshot()))


@commands.command()
def jobs(
    context: typer.Context,
    queue: Queue,
    state: Annotated[JobState, typer.Option(help="Which jobs.")] = JobState.WAITING,
    start: Annotated[int, typer.Option(min=0, help="First place, from 0.")] = 0,
    end: Annotated[int | None, typer.Option(min=0, help="Last place, included.")] = None,
    as_json: AsJson = False,
) -> None:
    """Jobs of one state."""
    from cloudq_tui.cli import printed  # noqa: PLC0415
    from cloudq_tui.services.wire import JobsPage  # noqa: PLC0415

    last = start + 19 if end is None else end
    with opened(context) as operations:
        if as_json:
            print_json(JobsPage.of(operations, queue, state, start, last).model_dump(by_alias=True))
            return
        total = operations.count(queue, state)
        typer.echo(printed.job_list(operations.queue_jobs(queue, state, start, last), total, state))


@commands.command()
def job(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """One job of any queue: payload, attempts, logs, result."""
    from cloudq_tui.cli import printed  # noqa: PLC0415
    from cloudq_tui.services.wire import JobWire  # noqa: PLC0415

    with opened(context) as operations:
        found = operations.find_job(job_id)
        if as_json:
            print_json(JobWire.of(found).model_dump(by_alias=True))
        else:
            typer.echo(printed.one_job(found))


@commands.command()
def workers(context: typer.Context, as_json: AsJson = False) -> None:
    """The live worker processes."""
    from cloudq_tui.cli import printed  # noqa: PLC0415
    from cloudq_tui.services.wire import workers_json  # noqa: PLC0415

    with opened(context) as operations:
        found = operations.workers()
        if as_json:
            print_json(workers_json(found))
        else:
            typer.echo(printed.worker_list(found))


@commands.command()
def events(
    context: typer.Context,
    queue: Queue,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """What happened in a queue, newest first."""
    from cloudq_tui.cli import printed  # noqa: PLC0415
    from cloudq_tui.services.wire import events_json  # noqa: PLC0415

    with opened(context) as operations:
        found = operations.events(queue, limit)
        if as_json:
            print_json(events_json(found))
        else:
            typer.echo(printed.event_list(found))


@commands.command()
def metrics(context: typer.Context, queue: Queue, as_json: AsJson = False) -> None:
    """What a queue did: by job name, and over the last 24 h."""
    from cloudq_tui.cli import printed  # noqa: PLC0415
    from cloudq_tui.services.wire import metrics_json  # noqa: PLC0415

    with opened(context) as operations:
        found = operations.metrics(queue)
        if as_json:
            print_json(metrics_json(found))
        else:
            typer.echo(printed.metric_tables(found))

"""The command that examines an installation, and mends it when told to."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudq_tui.cli.door import AsJson, opened, print_json

commands = typer.Typer()


@commands.command()
def doctor(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Is everything sound? Redis, the queues' data, the workers. Status 1 while anything is wrong."""
    with opened(context) as operations:
        report = operations.examine(repair=repair)
    if as_json:
        print_json(report.to_wire())
    else:
        from cloudq_tui.tui.text import visible  # noqa: PLC0415

        for one in report.findings:
            where = f"{one.queue}: " if one.queue else ""
            done = f" -> {one.repaired}" if one.repaired else ""
            typer.echo(f"{'repaired' if one.repaired else one.level:<8}  {visible(where + one.text + done)}")
        wrong = len(report.remaining)
        verdict = "healthy" if not wrong else f"{wrong} {'finding remains' if wrong == 1 else 'findings remain'}"
        typer.echo(f"{verdict}; {report.records:,} records examined")
    if report.remaining:
        raise typer.Exit(1)

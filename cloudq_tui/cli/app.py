"""The command line: each command a few lines over the operations, its imports paid for by itself alone.

One line on stderr and a status other than 0 for whatever goes wrong, never a traceback: 1 for a refusal of the
operations, 2 for a command that cannot be read, 130 when interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cloudq_tui.cli import acting, examining, looking
from cloudq_tui.cli.door import Door
from cloudq_tui.errors import CloudqError, Conflict

app = typer.Typer(
    name="cloudq-tui",
    help="Queues, jobs and workers: a full-screen dashboard, and each of its acts as a command.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(looking.commands)
app.add_typer(acting.commands)
app.add_typer(examining.commands)

Worker = Annotated[
    bool | None,
    typer.Option("--worker/--no-worker", help="Also run a worker; on by default with the embedded Redis."),
]


def main() -> None:
    """Entry point of `cloudq-tui` and `python -m cloudq_tui`."""
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to fail
    status = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        # Whoever read us has gone, or the disk is full. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or _unwritten(error)
    return status


def _run(arguments: list[str] | None) -> int:
    try:
        app(arguments, prog_name="cloudq-tui")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except CloudqError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _unwritten(error)
    return 0


def _unwritten(error: OSError) -> int:
    if not isinstance(error, BrokenPipeError):
        _complain(f"{error.filename or 'cannot write'}: {error.strerror or error}")
    return 1


# --- the front ends --------------------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="The YAML file with the settings.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every write.")] = False,
    worker: Worker = None,
) -> None:
    context.obj = Door(config, read_only)
    if context.invoked_subcommand is None:
        _dashboard(context.obj, worker)


@app.command()
def dash(context: typer.Context, worker: Worker = None) -> None:
    """The dashboard (also without any command)."""
    _dashboard(context.obj, worker)


def _dashboard(door: Door, worker: bool | None) -> None:
    _need_terminal()
    from cloudq_tui.bootstrap import embedded_worker  # noqa: PLC0415
    from cloudq_tui.tui.app import CloudqApp  # noqa: PLC0415

    with door.open("dashboard") as runtime:
        settings = runtime.settings
        wanted = settings.redis.is_embedded and not runtime.operations.read_only if worker is None else worker
        child = embedded_worker(settings) if wanted else None
        if child is not None:
            child.start()
        try:
            refresh = settings.dashboard.refresh
            CloudqApp(runtime.operations, settings=settings, worker=child, refresh=refresh).run()
        finally:
            if child is not None and child.alive:
                child.stop(settings.worker.shutdown_grace)


def _need_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Conflict("the dashboard needs a terminal; without one use: cloudq-tui status")
    # What a library would say on stderr would go over the screen.
    logging.getLogger().addHandler(logging.NullHandler())


@app.command()
def demo() -> None:
    """The dashboard on a Redis of its own, with real jobs of every kind running through it."""
    _need_terminal()
    from cloudq_tui.demo import run_demo  # noqa: PLC0415

    run_demo()


@app.command()
def serve(context: typer.Context) -> None:
    """The REST interface, on loopback."""
    from cloudq_tui.api.app import check_address, serve_forever  # noqa: PLC0415

    with context.obj.open("api", with_definitions=True) as runtime:
        check_address(runtime.settings)
        serve_forever(
            runtime.operations,
            settings=runtime.settings,
            on_listening=lambda url: typer.echo(f"listening on {url} (interactive docs at {url}/docs)", err=True),
        )


@app.command()
def version() -> None:
    """The version installed."""
    import cloudq_tui  # noqa: PLC0415

    typer.echo(cloudq_tui.__version__)


def _complain(message: str) -> None:
    from cloudq_tui.tui.text import visible  # noqa: PLC0415

    typer.echo(f"cloudq-tui: {visible(message)}", err=True)

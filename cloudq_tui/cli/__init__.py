"""The command line. The entry point stands here, the commands in app, looking, acting and examining."""

from cloudq_tui.cli.app import main

__all__ = ["main"]

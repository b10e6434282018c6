"""The command line. The entry point stands here, the commands in app, looking and acting."""

from cloudq_tui.cli.app import main

__all__ = ["main"]

"""`python -m cloudq_tui` is the command line."""

from cloudq_tui.cli import main

main()

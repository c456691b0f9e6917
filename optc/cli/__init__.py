"""The command line, `optc COMMAND …`; every command is a file of `optc.cli.commands`, imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line (default: that of the process) and leave with its exit code."""
    import sys

    from optc.cli.app import run

    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))

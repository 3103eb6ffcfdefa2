"""`tsbench`: train models, measure variants, run sweeps, list what is available."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tsbench.cli import listing, measure, sweep, table, train
from tsbench.errors import TsbenchError

USER_ERROR = 2  # argparse's exit code for a wrong command line
INTERRUPTED = 130  # a shell's exit code for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. An error the user can fix is one line."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except TsbenchError as error:
        print(f"tsbench: error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("tsbench: interrupted; run the same command again to resume", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each module of this package adds its own."""
    made = argparse.ArgumentParser(
        prog="tsbench", description="Time-series transformers, and ways of compressing them."
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for module in (train, listing, measure, sweep, table):
        module.add(commands)
    return made

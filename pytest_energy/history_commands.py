"""``pytest-energy history``: many saved runs over time."""

from __future__ import annotations

import argparse
import os
import sys

from pytest_energy.errors import OptionError
from pytest_energy.history import load_history
from pytest_energy.report.escape import encodable, plain
from pytest_energy.report.history_table import history_json, history_tables

EXIT_OK = 0
LOG_COLUMNS = 120  # of what is not a terminal, and has no width


def add_history_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "history", help="saved runs over time: a series for each benchmark, and the commits since which it is another one"
    )
    command.add_argument("paths", metavar="PATH", nargs="+", help="folders of saved runs, such as .benchmarks, or files")
    command.add_argument("--last", metavar="N", type=int, help="only the newest N runs of each machine (default: all)")
    command.add_argument("--test", metavar="TEXT", default="", help="only benchmarks with this in their names")
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_history)


def _history(options: argparse.Namespace) -> int:
    if options.last is not None and options.last < 1:
        raise OptionError(f"--last takes the number of runs, 1 or more, not {options.last}")
    history = load_history(options.paths, options.last, options.test)
    for line in history.broken:
        print(f"pytest-energy: passed over: {plain(line)}", file=sys.stderr)
    if options.json:
        print(history_json(history))
        return EXIT_OK
    from rich.console import Console

    console = Console(
        width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_COLUMNS,
        no_color=bool(os.environ.get("NO_COLOR")) or None,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(*history_tables(history), sep="\n")
    print(encodable(captured.get(), sys.stdout.encoding), end="")
    return EXIT_OK

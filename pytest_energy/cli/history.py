"""``pytest-energy history``: saved runs over time."""

from __future__ import annotations

import argparse
import os
import sys

from pytest_energy.cli.arguments import CommandHelp, Commands, add_format, new_command
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import output_columns, print_passed_over
from pytest_energy.errors import OptionError
from pytest_energy.report.escape import encodable
from pytest_energy.report.history_table import history_json, history_tables
from pytest_energy.runs.history import load_history

HELP = CommandHelp(
    summary="Show each benchmark over time, with the commits that changed it.",
    description=(
        "Show each benchmark of saved runs over time. The extra history also finds the commits "
        "that changed it."
    ),
    example="pytest-energy history .benchmarks",
    exit_codes={ExitCode.OK: "printed"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "history", HELP)
    command.add_argument(
        "paths", metavar="PATH", nargs="+", help="Folders of saved runs, or files."
    )
    command.add_argument(
        "--last", metavar="N", type=int, help="Take the newest N runs of each machine."
    )
    command.add_argument(
        "--test", metavar="TEXT", default="", help="Only benchmarks with this in their names."
    )
    add_format(command, "text", "json")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the history as tables or as JSON."""
    if arguments.last is not None and arguments.last < 1:
        raise OptionError(f"--last takes the number of runs, 1 or more, not {arguments.last}")
    history = load_history(arguments.paths, arguments.last, arguments.test)
    for line in history.broken:
        print_passed_over(line)
    if arguments.format == "json":
        print(history_json(history))
        return ExitCode.OK
    from rich.console import Console  # only this command needs it

    console = Console(
        width=output_columns(),
        no_color=bool(os.environ.get("NO_COLOR")) or None,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(*history_tables(history), sep="\n")
    print(encodable(captured.get(), sys.stdout.encoding), end="")
    return ExitCode.OK

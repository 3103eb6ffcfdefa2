"""``pytest-energy compare``: two saved runs, or two folders of them."""

from __future__ import annotations

import argparse
import os
import sys

from pytest_energy.cli.arguments import add_options, read_options
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import print_passed_over
from pytest_energy.errors import OptionError
from pytest_energy.report.compare_table import as_json, terminal_table
from pytest_energy.report.escape import encodable
from pytest_energy.report.markdown import markdown
from pytest_energy.runs.compare import compare_saved
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.load import DEFAULT_LAST

NAMES = (
    *("tolerance", "alpha", "quality_tolerance", "gate_estimates"),
    *("carbon_intensity", "strict"),
)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "compare",
        help="Compare two saved runs, or two folders of them.",
        description="Compare two saved runs, or two folders of them, benchmark by benchmark.",
        epilog=(
            "Exit codes: 0 nothing regressed, 1 something regressed, 2 not comparable, "
            "3 inconclusive, with --strict. Example: pytest-energy compare old.json new.json"
        ),
    )
    command.add_argument("old", metavar="OLD", help="A saved run, or a folder of them.")
    command.add_argument("new", metavar="NEW", help="A saved run, or a folder of them.")
    command.add_argument(
        "--last",
        metavar="N",
        type=int,
        default=DEFAULT_LAST,
        help=f"Take the newest N runs of a folder (default: {DEFAULT_LAST}).",
    )
    add_options(command, *NAMES)
    command.add_argument(
        "--across",
        metavar="software",
        choices=["software"],
        help="Compare runs of different interpreters and versions too: --across software.",
    )
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="Print JSON.")
    shape.add_argument("--markdown", action="store_true", help="Print a pull request's comment.")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Compare, print, and give the exit code that the verdicts ask for."""
    if arguments.last < 1:
        raise OptionError(f"--last takes the number of runs, 1 or more, not {arguments.last}")
    options = read_options(arguments, *NAMES)
    comparison = compare_saved(
        arguments.old,
        arguments.new,
        arguments.last,
        CompareOptions(
            options.plan.tolerance,
            options.plan.alpha,
            options.gate_estimates,
            options.quality_tolerance,
            arguments.across == "software",
        ),
        print_passed_over,
    )
    code = ExitCode.of(comparison.failure(options.strict))
    if arguments.json:
        print(as_json(comparison, code, options.grams_per_kwh))
    elif arguments.markdown:
        print(encodable(markdown(comparison, options.grams_per_kwh), sys.stdout.encoding))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        table = terminal_table(comparison, colour, options.grams_per_kwh)
        print(encodable(table, sys.stdout.encoding))
    return code

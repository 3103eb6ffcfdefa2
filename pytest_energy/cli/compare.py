"""``pytest-energy compare``: saved runs, or folders of them."""

from __future__ import annotations

import argparse
import os
import sys

from pytest_energy.cli.arguments import (
    CommandHelp,
    Commands,
    add_format,
    add_options,
    new_command,
    read_options,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import output_columns, print_passed_over, print_warning
from pytest_energy.errors import OptionError
from pytest_energy.options import Options
from pytest_energy.report.compare_matrix import matrix_json, matrix_table
from pytest_energy.report.compare_table import as_json, terminal_table
from pytest_energy.report.escape import encodable
from pytest_energy.report.markdown import markdown
from pytest_energy.runs.compare import compare_saved
from pytest_energy.runs.comparison import CompareOptions, RunComparison
from pytest_energy.runs.load import DEFAULT_LAST

NAMES = (
    *("tolerance", "alpha", "suite_alpha", "family_wise", "quality_tolerance", "gate_estimates"),
    *("count_tolerance", "carbon_intensity", "strict", "allow_ungated"),
)
# Of several comparisons, the first of these codes counts.
WORST_FIRST = (ExitCode.REGRESSED, ExitCode.UNUSABLE, ExitCode.INCONCLUSIVE, ExitCode.OK)

HELP = CommandHelp(
    summary="Compare saved runs, or folders of them.",
    description=(
        "Compare NEW with OLD, benchmark by benchmark. With MORE, compare each with OLD in one "
        "table."
    ),
    example="pytest-energy compare old.json new.json",
    exit_codes={
        ExitCode.OK: "nothing regressed",
        ExitCode.REGRESSED: "something regressed",
        ExitCode.UNUSABLE: "not comparable, or nothing was gated; a line gives the reason",
        ExitCode.INCONCLUSIVE: "something is inconclusive, with --strict",
    },
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "compare", HELP)
    command.add_argument("old", metavar="OLD", help="A saved run, or a folder of them.")
    command.add_argument("new", metavar="NEW", help="A saved run, or a folder of them.")
    command.add_argument("more", metavar="MORE", nargs="*", help="More runs to compare with OLD.")
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
    add_format(command, "text", "json", "markdown")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Compare, print, and give the exit code that the verdicts ask for."""
    if arguments.last < 1:
        raise OptionError(f"--last takes the number of runs, 1 or more, not {arguments.last}")
    if arguments.more and arguments.format == "markdown":
        raise OptionError("--format markdown takes two runs, OLD and NEW; use text or json")
    options = read_options(arguments, *NAMES)
    news = [arguments.new, *arguments.more]
    comparisons = [_compare(arguments, new, options) for new in news]
    codes = [_exit_code(comparison, options) for comparison in comparisons]
    if arguments.format == "text":
        print(encodable(_text(comparisons, options), sys.stdout.encoding))
    elif arguments.format == "markdown":
        print(encodable(markdown(comparisons[0], options.grams_per_kwh), sys.stdout.encoding))
    elif len(news) > 1:
        print(matrix_json(comparisons, codes, options.grams_per_kwh))
    else:
        print(as_json(comparisons[0], codes[0], options.grams_per_kwh))
    for new, comparison in zip(news, comparisons, strict=True):
        if _gated_nothing(comparison):
            print_warning(f"{new}: nothing was gated: see the reasons above")
    return next(code for code in WORST_FIRST if code in codes)


def _compare(arguments: argparse.Namespace, new: str, options: Options) -> RunComparison:
    return compare_saved(
        arguments.old,
        new,
        arguments.last,
        CompareOptions.of(options, across_software=arguments.across == "software"),
        print_passed_over,
    )


def _exit_code(comparison: RunComparison, options: Options) -> ExitCode:
    if _gated_nothing(comparison) and not options.allow_ungated:
        return ExitCode.UNUSABLE  # exit 0 would be a silent pass
    return ExitCode.of(comparison.failure(options.strict))


def _gated_nothing(comparison: RunComparison) -> bool:
    return comparison.counts["not gated"] == comparison.counts.total()


def _text(comparisons: list[RunComparison], options: Options) -> str:
    if len(comparisons) > 1:
        return matrix_table(comparisons)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return terminal_table(comparisons[0], colour, options.grams_per_kwh, output_columns())

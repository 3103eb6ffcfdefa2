"""``pytest-energy bisect``: find the commit that made a test worse."""

from __future__ import annotations

import argparse
import shlex

from pytest_energy.cli.arguments import (
    CommandHelp,
    Commands,
    add_options,
    current_folder,
    new_command,
    read_options,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.project_settings import read_project_settings
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.report.escape import plain

NAMES = (
    "meter",
    "watts",
    "max_time",
    "tolerance",
    "alpha",
    "gate_estimates",
    "trust_sensor",
    "lock_timeout",
    "count_tolerance",
    "count_timeout",
)

HELP = CommandHelp(
    summary="Find the commit that made a test worse.",
    description=(
        "Compare commits between GOOD and BAD live with GOOD, and halve the range each time. "
        "Branches, index and files of the repository stay unchanged."
    ),
    example="pytest-energy bisect v1.0 main tests/test_model.py",
    exit_codes={ExitCode.OK: "one commit is printed, or a range that measurements cannot split"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "bisect", HELP)
    command.add_argument("good", metavar="GOOD", help="A commit that was still good.")
    command.add_argument("bad", metavar="BAD", help="A later commit that is not.")
    command.add_argument(
        "tests", metavar="TESTS", nargs="*", help="Tests as for pytest; its options come after --."
    )
    command.add_argument(
        "--count",
        action="store_true",
        help="Compare by counted work: exact, beside any neighbour, and without a sensor.",
    )
    add_options(command, *NAMES)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print each step, then the commit."""
    from pytest_energy.commits.bisect import bisect, worker_command_line
    from pytest_energy.commits.count_bisect import bisect_counts

    options = read_options(arguments, *NAMES)
    tests = list(arguments.tests)
    if arguments.meter:
        tests.append(f"--energy-meter={arguments.meter}")
    addopts = read_project_settings(current_folder()).values.get("addopts", [])
    addopts = shlex.split(addopts) if isinstance(addopts, str) else addopts
    line = worker_command_line(tests, addopts)
    what = (current_folder(), arguments.good, arguments.bad, line, options, _print_line)
    if arguments.count:
        culprit = bisect_counts(*what)
    else:
        with machine_lock(options.lock_timeout_s, _print_line):
            culprit = bisect(*what)
    if len(culprit.suspects) == 1:
        print(plain(f"{culprit.suspects[0]} made {culprit.test} worse"))
    else:
        print(plain(f"one of these made {culprit.test} worse; measurements cannot separate them:"))
        print("\n".join(culprit.suspects))
    return ExitCode.OK


def _print_line(line: str) -> None:
    print(plain(line), flush=True)

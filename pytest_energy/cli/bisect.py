"""``pytest-energy bisect``: which commit made a test burn more."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pytest_energy.cli.arguments import add_options, read_options
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.project_settings import read_project_settings
from pytest_energy.measuring.machine_lock import machine_lock

NAMES = (
    "meter",
    "watts",
    "max_time",
    "tolerance",
    "alpha",
    "gate_estimates",
    "trust_sensor",
    "lock_timeout",
)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "bisect",
        help="Find the commit that made a test burn more.",
        description=(
            "Halve the commits between GOOD and BAD by live comparisons with GOOD. Your branches, "
            "index and files stay as they are."
        ),
        epilog=(
            "Exit codes: 0 the commit, or the commits that cannot be told apart, are printed; "
            "2 nothing to bisect. Example: pytest-energy bisect v1.0 main tests/test_model.py"
        ),
    )
    command.add_argument("good", metavar="GOOD", help="A commit that was still good.")
    command.add_argument("bad", metavar="BAD", help="A later commit that is not.")
    command.add_argument(
        "tests", metavar="TESTS", nargs="*", help="Tests as for pytest; its options come after --."
    )
    add_options(command, *NAMES)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print each step, then the commit."""
    from pytest_energy.commits.bisect import bisect, worker_command_line

    options = read_options(arguments, *NAMES)
    tests = list(arguments.tests)
    if arguments.meter:
        tests.append(f"--energy-meter={arguments.meter}")
    addopts = read_project_settings(Path.cwd()).values.get("addopts", [])
    addopts = shlex.split(addopts) if isinstance(addopts, str) else addopts
    line = worker_command_line(tests, addopts)
    with machine_lock(options.lock_timeout_s, print):
        culprit = bisect(Path.cwd(), arguments.good, arguments.bad, line, options, print)
    if len(culprit.suspects) == 1:
        print(f"{culprit.suspects[0]} made {culprit.test} worse")
    else:
        print(f"one of these made {culprit.test} worse, and they cannot be told apart:")
        print("\n".join(culprit.suspects))
    return ExitCode.OK

"""``pytest-energy noise``: how much single runs of unchanged code differ on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from pytest_energy.cli.arguments import add_options, read_options
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.machine import fingerprint
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.report.doctor import noise_report
from pytest_energy.runs.noise import save_noise

NAMES = ("meter", "watts", "lock_timeout")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "noise",
        help="Measure the floor under comparisons of saved runs, and keep it.",
        description=(
            "Run the same code in fresh processes and keep the spread for this machine and meter. "
            "compare calls no smaller change of single runs a regression."
        ),
    )
    command.add_argument(
        "--minutes",
        metavar="MINUTES",
        type=float,
        default=2.0,
        help="Spread the runs over this time (default: 2). More minutes see slower drift.",
    )
    command.add_argument("--json", action="store_true", help="Print JSON.")
    add_options(command, *NAMES)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure, keep and print the noise."""
    from pytest_energy.runs.noise_kernels import measure_noise

    options = read_options(arguments, *NAMES)
    with machine_lock(options.lock_timeout_s, _progress):
        noise, meter_name = measure_noise(
            options.meter, options.meter_settings, arguments.minutes, _progress
        )
    path = save_noise(noise, fingerprint(), meter_name)
    if arguments.json:
        print(json.dumps({"path": str(path), "meter": meter_name, **asdict(noise)}, indent=2))
    else:
        print(noise_report(noise, meter_name, str(path)))
    return ExitCode.OK


def _progress(line: str) -> None:
    print(line, file=sys.stderr)

"""``pytest-energy noise``: how much single runs of unchanged code differ on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from pytest_energy.cli.arguments import (
    CommandHelp,
    Commands,
    add_format,
    add_options,
    new_command,
    read_options,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.machine import fingerprint
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.report.doctor import noise_report
from pytest_energy.report.escape import plain
from pytest_energy.runs.noise import save_noise

NAMES = ("meter", "watts", "lock_timeout")

HELP = CommandHelp(
    summary="Measure how much single runs of unchanged code differ here.",
    description=(
        "Run the same code in fresh processes, and save the spread for this machine and meter. "
        "compare calls no smaller change between two single runs a regression."
    ),
    example="pytest-energy noise --minutes 10",
    exit_codes={ExitCode.OK: "measured and saved"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "noise", HELP)
    command.add_argument(
        "--minutes",
        metavar="MINUTES",
        type=float,
        default=2.0,
        help="Spread the runs over this time (default: 2). More minutes include slower drift.",
    )
    add_format(command, "text", "json")
    add_options(command, *NAMES)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure, save and print the noise."""
    from pytest_energy.runs.noise_kernels import measure_noise

    options = read_options(arguments, *NAMES)
    with machine_lock(options.lock_timeout_s, _print_step):
        noise, meter_name = measure_noise(
            options.meter, options.meter_settings, arguments.minutes, _print_step
        )
    path = save_noise(noise, fingerprint(), meter_name)
    if arguments.format == "json":
        print(json.dumps({"path": str(path), "meter": meter_name, **asdict(noise)}, indent=2))
    else:
        print(noise_report(noise, meter_name, str(path)))
    return ExitCode.OK


def _print_step(line: str) -> None:
    print(plain(line), file=sys.stderr)

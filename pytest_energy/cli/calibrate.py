"""``pytest-energy calibrate``: fit the estimated meter to this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_energy.cli.arguments import (
    CommandHelp,
    Commands,
    add_options,
    new_command,
    parse_seconds,
    read_options,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.errors import MeterUnavailable, OptionError
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.meters import open_meter
from pytest_energy.meters.calibration import (
    SECONDS_PER_LOAD,
    calibration_of_watts,
    calibration_path,
    fit_watts,
    save_calibration,
)
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits

NAMES = ("watts", "meter", "trust_sensor", "lock_timeout")
NO_SENSOR = (
    "read the watts off a wall meter, with the machine idle and with all CPUs busy, and give both: "
    "pytest-energy calibrate --watts 41,178"
)

HELP = CommandHelp(
    summary="Fit the estimated meter to this machine.",
    description="Fit the estimated meter, by a sensor or by two values of a wall meter.",
    example="pytest-energy calibrate --watts 41,178",
    exit_codes={ExitCode.OK: "the calibration is written"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "calibrate", HELP)
    add_options(command, *NAMES)
    command.add_argument(
        "--seconds",
        metavar="S",
        help=f"Measure each load this long, after the CPUs settle (default: {SECONDS_PER_LOAD:g}).",
    )
    command.add_argument(
        "--output", metavar="FILE", help="Write here (default: where the estimate looks for it)."
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Fit, save and print the watts."""
    path = Path(arguments.output) if arguments.output else calibration_path()
    seconds = SECONDS_PER_LOAD if arguments.seconds is None else parse_seconds(arguments.seconds)
    options = read_options(arguments, *NAMES)
    if arguments.watts and options.watts is not None:
        calibration = calibration_of_watts(*options.watts)
    else:
        with open_meter(options.meter, options.meter_settings) as meter:
            if meter.provenance != "measured":
                raise MeterUnavailable(
                    "no sensor of this machine counts joules, so there is nothing to fit the "
                    "estimate to",
                    NO_SENSOR,
                )
            with machine_lock(options.lock_timeout_s, _print_step):
                calibration = fit_watts(meter, seconds, on_step=_print_step)
    try:
        save_calibration(calibration, path)
    except OSError as error:
        raise OptionError(
            f"the calibration cannot be written to {path}: {error.strerror}; name another --output"
        ) from None
    print(
        f"idle {digits(calibration.idle_watts)} W, all {calibration.cpus} CPUs busy "
        f"{digits(calibration.full_watts)} W, in between by exponent {calibration.exponent:g}, "
        f"against {calibration.source}"
    )
    elsewhere = f"; use --energy-meter estimate:{path}" if arguments.output else ""
    print(plain(f"written to {path}{elsewhere}"))
    return ExitCode.OK


def _print_step(line: str) -> None:
    print(plain(line), file=sys.stderr)

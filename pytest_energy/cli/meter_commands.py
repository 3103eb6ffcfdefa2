"""``pytest-energy calibrate`` and ``pytest-energy record``: this machine's watts, and a meter's readings, kept in a file."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.errors import MeterUnavailable, OptionError
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.meters import AUTO, Meter, info, open_meter
from pytest_energy.meters.calibration import (
    SECONDS_PER_LOAD,
    calibrate,
    calibration_of_watts,
    calibration_path,
    save_calibration,
)
from pytest_energy.meters.replay import RecordingMeter
from pytest_energy.model import Reading, window_between
from pytest_energy.options import DEFAULT_LOCK_TIMEOUT_S, Options
from pytest_energy.report.units import digits

# Between two readings of a recording: a line of some 60 bytes each, so that an hour of it has 20 MB.
RECORD_INTERVAL_S = 0.01
NO_SENSOR = "read the watts off a wall meter, with the machine idle and with all CPUs busy, and give both: pytest-energy calibrate --watts 41,178"


def add_meter_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both to the parser of ``pytest-energy``."""
    calibrating = commands.add_parser(
        "calibrate",
        help="fit the estimate to this machine, by a sensor or by a wall meter's two figures",
    )
    calibrating.add_argument(
        "--watts", metavar="IDLE,FULL", help="what a wall meter shows: idle, and with all CPUs busy"
    )
    calibrating.add_argument(
        "--meter",
        metavar="SPEC",
        default=AUTO,
        help="the sensor, as --energy-meter (default: auto)",
    )
    calibrating.add_argument(
        "--seconds",
        metavar="S",
        help=f"per load, after the CPUs settled (default: {SECONDS_PER_LOAD:g})",
    )
    calibrating.add_argument("--powercap-root", metavar="DIR", help="where the powercap tree is")
    calibrating.add_argument(
        "--output",
        metavar="FILE",
        help="where to write it (default: where the estimate looks for it)",
    )
    calibrating.set_defaults(run=_calibrate)
    recording = commands.add_parser(
        "record",
        help="write a meter's readings to a file, for --energy-meter replay:PATH; a command to run comes after --",
    )
    recording.add_argument("path", metavar="PATH", help="the trace, JSON lines")
    recording.add_argument(
        "--meter", metavar="SPEC", default=AUTO, help="as --energy-meter (default: auto)"
    )
    recording.add_argument("--seconds", metavar="S", help="for how long, where no command is given")
    recording.add_argument("--powercap-root", metavar="DIR", help="where the powercap tree is")
    recording.add_argument("--hwmon-root", metavar="DIR", help="where the hwmon tree is")
    recording.add_argument(
        "--watts", metavar="IDLE,FULL", help="idle and full-load watts, for the estimate"
    )
    recording.set_defaults(run=_record, command=())


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """The arguments before ``--`` and, of ``record``, the command after it: argparse mixes the two up."""
    arguments = list(arguments)
    if arguments[:1] != ["record"] or "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _calibrate(options: argparse.Namespace) -> int:
    path = Path(options.output) if options.output else calibration_path()
    seconds = SECONDS_PER_LOAD if options.seconds is None else _seconds(options.seconds)
    settings = Options.of(
        True, {"powercap_root": options.powercap_root, "watts": options.watts}
    ).meter_settings
    if settings.watts is not None:
        calibration = calibration_of_watts(*settings.watts)
    else:
        with open_meter(options.meter, settings) as meter:
            if meter.provenance != "measured":
                raise MeterUnavailable(
                    "no sensor counts joules here that the estimate could be fitted to", NO_SENSOR
                )
            with machine_lock(DEFAULT_LOCK_TIMEOUT_S, _say):
                calibration = calibrate(meter, seconds, say=_say)
    try:
        save_calibration(calibration, path)
    except OSError as error:
        raise OptionError(
            f"the calibration cannot be written to {path}: {error.strerror}; name another --output"
        ) from None
    print(
        f"idle {digits(calibration.idle_watts)} W, all {calibration.cpus} CPUs busy {digits(calibration.full_watts)} W, "
        f"in between by exponent {calibration.exponent:g}, against {calibration.source}"
    )
    print(
        f"written to {path}"
        + ("" if path == calibration_path() else f"; use it as --energy-meter estimate:{path}")
    )
    return ExitCode.OK


def _record(options: argparse.Namespace) -> int:
    if bool(options.command) == (options.seconds is not None):
        raise OptionError(
            "record takes either --seconds S or a command after --, such as: record trace.jsonl -- python train.py"
        )
    seconds = math.inf if options.seconds is None else _seconds(options.seconds)
    given = {
        "powercap_root": options.powercap_root,
        "hwmon_root": options.hwmon_root,
        "watts": options.watts,
    }
    inner = open_meter(options.meter, Options.of(True, given).meter_settings)
    try:
        meter = RecordingMeter(inner, options.path)
    except OSError as error:
        inner.close()
        raise OptionError(
            f"the trace cannot be written to {options.path}: {error.strerror}"
        ) from None
    with meter:
        return _sample(meter, options, seconds)


def _sample(meter: Meter, options: argparse.Namespace, seconds: float) -> int:
    """Read until the command has ended or the time is up; gives the command's exit code."""
    first = last = meter.read()
    readings = 1
    code: int = ExitCode.OK
    process = _start(options.command) if options.command else None
    try:
        while last.at_s - first.at_s < seconds:
            wait_s = min(RECORD_INTERVAL_S, max(0.0, seconds - (last.at_s - first.at_s)))
            ended = _ended(process, wait_s)
            last = meter.read()
            readings += 1
            if process is not None and ended:
                code = (
                    process.returncode if process.returncode >= 0 else 128 - process.returncode
                )  # as a shell says it
                break
    except KeyboardInterrupt:  # the usual way to end a long recording: what was read is kept
        if process is not None:
            code = process.wait()
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
    _say(_summary(meter, first, last, readings))
    _say(f"written to {options.path}: play it again with --energy-meter replay:{options.path}")
    return code


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command)
    except OSError as error:
        raise OptionError(f"{command[0]} cannot be started: {error.strerror}") from None


def _ended(process: subprocess.Popen[bytes] | None, wait_s: float) -> bool:
    """Wait so long, or until the process has ended."""
    if process is None:
        time.sleep(wait_s)
        return False
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _summary(meter: Meter, first: Reading, last: Reading, readings: int) -> str:
    window = window_between(first, last, 0)
    joules = info(meter).total_joules(window.joules)
    return f"{readings} readings over {window.seconds:.3g} s: {digits(joules)} J {meter.provenance} by {meter.name}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise OptionError(f"--seconds takes a number above 0, not {text!r}")
    return seconds


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # standard output is the command's

"""``pytest-energy record``: write a meter's readings to a file, for the replay meter."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Sequence

from pytest_energy.cli.arguments import (
    CommandHelp,
    Commands,
    add_options,
    new_command,
    parse_seconds,
    read_options,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.clock import sleep
from pytest_energy.errors import OptionError
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.meters.replay import RecordingMeter
from pytest_energy.model import Reading, window_between
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits

NAMES = ("meter", "watts")
# Between two readings. A reading takes about 60 bytes, so an hour takes 20 MB.
RECORD_INTERVAL_S = 0.01

HELP = CommandHelp(
    summary="Write a meter's readings to a file, for --energy-meter replay:PATH.",
    description=(
        "Write a meter's readings to a file while a command runs, or for a time. The command "
        "comes after --."
    ),
    example="pytest-energy record trace.jsonl -- python train.py",
    exit_codes={ExitCode.OK: "written; after a command, its own exit code"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "record", HELP)
    command.add_argument("path", metavar="PATH", help="The trace, JSON lines.")
    command.add_argument("--seconds", metavar="S", help="Record this long, without a command.")
    add_options(command, *NAMES)
    command.set_defaults(run=run, command=())


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """The arguments before ``--`` and, for ``record``, the command after it.

    argparse would parse the command's options as those of ``record``.
    """
    arguments = list(arguments)
    if arguments[:1] != ["record"] or "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def run(arguments: argparse.Namespace) -> int:
    """Record until the command ends or the time has passed; returns the command's exit code."""
    if bool(arguments.command) == (arguments.seconds is not None):
        raise OptionError(
            "record takes either --seconds S or a command after --, such as: "
            "record trace.jsonl -- python train.py"
        )
    seconds = math.inf if arguments.seconds is None else parse_seconds(arguments.seconds)
    options = read_options(arguments, *NAMES)
    inner = open_meter(options.meter, options.meter_settings)
    try:
        meter = RecordingMeter(inner, arguments.path)
    except OSError as error:
        inner.close()
        raise OptionError(
            f"the trace cannot be written to {arguments.path}: {error.strerror}; name another file"
        ) from None
    with meter:
        return _record(meter, arguments, seconds)


def _record(meter: Meter, arguments: argparse.Namespace, seconds: float) -> int:
    first = last = meter.read()
    readings = 1
    code: int = ExitCode.OK
    process = _start(arguments.command) if arguments.command else None
    try:
        while last.at_s - first.at_s < seconds:
            wait_s = min(RECORD_INTERVAL_S, max(0.0, seconds - (last.at_s - first.at_s)))
            ended = _wait(process, wait_s)
            last = meter.read()
            readings += 1
            if process is not None and ended:
                # A signal has the code that a shell gives it.
                code = process.returncode if process.returncode >= 0 else 128 - process.returncode
                break
    except KeyboardInterrupt:  # the usual end of a long recording; its readings are saved
        if process is not None:
            code = process.wait()
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
    _print_line(_summary(meter, first, last, readings))
    _print_line(
        f"written to {arguments.path}: replay it with --energy-meter replay:{arguments.path}"
    )
    return code


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command)
    except OSError as error:
        raise OptionError(f"{command[0]} cannot be started: {error.strerror}") from None


def _wait(process: subprocess.Popen[bytes] | None, wait_s: float) -> bool:
    """Wait this long or until the process ends; returns whether it has ended."""
    if process is None:
        sleep(wait_s)
        return False
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _summary(meter: Meter, first: Reading, last: Reading, readings: int) -> str:
    window = window_between(first, last, 0)
    joules = info(meter).total_joules(window.joules)
    return (
        f"{readings} readings over {window.seconds:.3g} s: {digits(joules)} J {meter.provenance} "
        f"by {meter.name}"
    )


def _print_line(line: str) -> None:
    print(plain(line), file=sys.stderr)  # standard output belongs to the command

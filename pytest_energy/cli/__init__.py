"""``pytest-energy``: everything outside of a test run. One file per command."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from pytest_energy.cli import (
    bisect,
    calibrate,
    compare,
    doctor,
    export,
    history,
    noise,
    pull_request,
    record,
    report,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.errors import EnergyError
from pytest_energy.report.escape import encodable, plain

COMMANDS = (
    *(doctor, compare, bisect, history, report, export),
    *(pull_request, noise, calibrate, record),
)
TRACEBACK_VARIABLE = "PYTEST_ENERGY_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A fault is one line on standard error, never 1."""
    arguments, command = record.split_command(sys.argv[1:] if arguments is None else arguments)
    program = parser()
    parsed = program.parse_args(arguments)
    if command is not None:
        parsed.command = command
    try:
        if "run" not in parsed:
            program.print_help()
            code = int(ExitCode.OK)
        else:
            code = int(parsed.run(parsed))
        sys.stdout.flush()
    except EnergyError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader, such as head, has seen enough. Python would fail again in its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.CLOSED_PIPE
    except KeyboardInterrupt:
        _fail("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - reported as our fault, with an exit code of its own
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        return _fail(
            f"a fault of pytest-energy: {type(error).__name__}: {error}; "
            f"{TRACEBACK_VARIABLE}=1 shows where"
        )
    return code


def parser() -> argparse.ArgumentParser:
    """The parser of the program and of all commands."""
    program = argparse.ArgumentParser(prog="pytest-energy", description=__doc__)
    program.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_command(commands)
    return program


def _fail(message: str) -> ExitCode:
    line = f"pytest-energy: {' '.join(plain(part) for part in message.splitlines())}"
    print(encodable(line, sys.stderr.encoding), file=sys.stderr)
    return ExitCode.UNUSABLE


def _version() -> str:
    try:
        return version("pytest-energy")
    except PackageNotFoundError:
        return "(not installed)"

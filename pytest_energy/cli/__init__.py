"""``pytest-energy``: everything outside of a test run. One file per command."""

from __future__ import annotations

import argparse
import io
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
from pytest_energy.report.escape import plain

COMMANDS = (
    *(doctor, compare, bisect, history, report, export),
    *(pull_request, noise, calibrate, record),
)
TRACEBACK_VARIABLE = "PYTEST_ENERGY_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A fault is one line on standard error, never 1."""
    _prepare_streams()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except EnergyError as error:
        code = _fail(str(error))
    except BrokenPipeError:
        code = ExitCode.CLOSED_PIPE  # the reader, such as head, has seen enough
    except KeyboardInterrupt:
        _fail("interrupted")
        code = ExitCode.INTERRUPTED
    except OSError as error:
        _print_traceback_if_asked()
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        code = _fail(f"{where}{error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - reported as our fault
        _print_traceback_if_asked()
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        code = _fail(f"a fault of pytest-energy: {what}; {TRACEBACK_VARIABLE}=1 shows where")
    _flush_or_discard()
    return int(code)


def parser() -> argparse.ArgumentParser:
    """The parser of the program and of all commands."""
    program = argparse.ArgumentParser(
        prog="pytest-energy",
        description="Compare saved runs, find commits, and see what this machine can measure.",
        epilog="pytest-energy COMMAND --help explains a command. pytest --energy measures tests.",
    )
    program.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_command(commands)
    return program


def _run(arguments: Sequence[str]) -> int:
    arguments, recorded_command = record.split_command(arguments)
    program = parser()
    try:
        parsed = program.parse_args(arguments)
    except SystemExit as ended:  # after help, the version, or an error of the arguments
        return int(ended.code or 0)
    if recorded_command is not None:
        parsed.command = recorded_command
    if "run" not in parsed:
        program.print_help()
        return ExitCode.OK
    return int(parsed.run(parsed))


def _prepare_streams() -> None:
    """Make every text printable, in any encoding and to a closed stream."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_or_discard() -> None:
    """Python flushes once more when it exits; an error there would change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_traceback_if_asked() -> None:
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exc()


def _fail(message: str) -> ExitCode:
    line = " ".join(plain(part) for part in message.splitlines())
    try:
        print(f"pytest-energy: {line}", file=sys.stderr)
    except OSError:
        pass  # standard error is full or closed; the exit code remains
    return ExitCode.UNUSABLE


def _version() -> str:
    try:
        return version("pytest-energy")
    except PackageNotFoundError:
        return "(not installed)"

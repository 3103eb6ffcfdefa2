"""What the commands on saved runs share: read each file once, and write the output."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pytest_energy.errors import OptionError, RunError, RunUnreadable, RunWithoutJoules
from pytest_energy.report.compare_table import LOG_COLUMNS
from pytest_energy.report.escape import plain
from pytest_energy.runs.load import run_files

STANDARD_OUTPUT = "-"

T = TypeVar("T")


def read_each(paths: Sequence[str], read: Callable[[Path], T]) -> Iterator[T]:
    """What ``read`` makes of each file.

    A broken file of a folder is skipped with a line. A broken file that the user named raises
    `RunError`.
    """
    for file, named in run_files(paths):
        try:
            made = read(file)
        except RunError as error:
            if named:
                raise
            if not isinstance(error, RunWithoutJoules):
                print_passed_over(str(error))
        else:
            yield made


def no_runs_in(paths: Sequence[str]) -> RunUnreadable:
    """The error for paths without a single run with joules."""
    return RunUnreadable(
        f"no saved runs with joules in {', '.join(paths)}; save one with pytest --energy "
        "--benchmark-autosave"
    )


def output_columns() -> int:
    """The width of the terminal or of the variable COLUMNS, or else that of a log."""
    return shutil.get_terminal_size((LOG_COLUMNS, 24)).columns


def print_passed_over(reason: str) -> None:
    """One line on standard error, about a file that is not used."""
    print_warning(f"passed over: {reason}")


def print_warning(line: str) -> None:
    """One line on standard error."""
    print(f"pytest-energy: {plain(line)}", file=sys.stderr)


def write_text(text: str, where: str) -> None:
    """To a file, or to standard output for ``-``. Raises `OptionError`."""
    encoded = text.encode("utf8", "backslashreplace")
    if where == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(encoded)
        return
    try:
        Path(where).write_bytes(encoded)
    except OSError as error:
        raise OptionError(
            f"--output {where}: cannot be written: {error.strerror}; name another file"
        ) from None

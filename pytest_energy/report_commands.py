"""``pytest-energy report``: saved runs as one page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_energy.errors import OptionError, RunError, RunWithoutJoules
from pytest_energy.report.escape import plain
from pytest_energy.report.html import page
from pytest_energy.saved import SavedRun, boil_down, run_files
from pytest_energy.store import Run, read_run

EXIT_OK = 0


def add_report_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "report", help="a saved run as a page that opens anywhere; with several, the newest, and the trend"
    )
    command.add_argument("paths", metavar="RUN", nargs="+", help="saved runs, or folders of them")
    command.add_argument("-o", "--output", metavar="FILE", default="energy.html", help="where to write it (default: energy.html)")
    command.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    newest, all_runs = _runs(options.paths)
    text = page(newest, all_runs if len(all_runs) > 1 else ())
    write_page(text, options.output, "--output")
    print(f"wrote {options.output}: {plain(newest.path)}, {len(all_runs)} runs")
    return EXIT_OK


def write_page(text: str, path: str | Path, option: str) -> None:
    """Raises `OptionError` where it cannot be written."""
    try:
        Path(path).write_text(text, encoding="utf8")
    except OSError as error:
        raise OptionError(f"{option} {path}: cannot be written: {error.strerror}; name another file") from None


def _runs(paths: list[str]) -> tuple[Run, list[SavedRun]]:
    """The newest run whole, and all of them boiled down; of a folder, broken files are named and passed over."""
    newest: Run | None = None
    boiled = []
    for file, by_name in run_files(paths):
        try:
            run = read_run(file)
            boiled.append(boil_down(run))
        except RunWithoutJoules:
            if by_name:
                raise
            continue
        except RunError as error:
            if by_name:
                raise
            print(f"pytest-energy: passed over: {plain(str(error))}", file=sys.stderr)
            continue
        if newest is None or (run.at, run.path) > (newest.at, newest.path):
            newest = run
    if newest is None:
        raise OptionError(f"no saved runs with joules in {', '.join(paths)}; save one with pytest --energy --benchmark-autosave")
    return newest, boiled

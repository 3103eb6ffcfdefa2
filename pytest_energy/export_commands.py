"""``pytest-energy export``: saved runs for DuckDB, spreadsheets and Prometheus."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_energy.errors import OptionError, RunError, RunUnreadable, RunWithoutJoules
from pytest_energy.export import as_csv, as_prometheus, newest, rows, write_parquet
from pytest_energy.report.escape import plain
from pytest_energy.saved import run_files
from pytest_energy.store import Run, read_run

EXIT_OK = 0
STANDARD_OUTPUT = "-"


def add_export_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "export", help="saved runs as CSV, Parquet or Prometheus text, a row for each benchmark and run"
    )
    command.add_argument("paths", metavar="PATH", nargs="+", help="saved runs, or folders of them")
    shape = command.add_mutually_exclusive_group(required=True)
    shape.add_argument("--csv", metavar="FILE", help="comma-separated values; - is standard output")
    shape.add_argument("--parquet", metavar="FILE", help="for DuckDB, pandas, polars; needs the extra parquet")
    shape.add_argument("--prometheus", metavar="FILE", help="of the newest run, for a pushgateway; - is standard output")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    runs = _runs(options.paths)
    if options.parquet is not None:
        try:
            write_parquet(rows(runs), Path(options.parquet))
        except OSError as error:
            raise OptionError(f"--parquet {options.parquet}: cannot be written: {error.strerror}") from None
        return EXIT_OK
    if options.csv is not None:
        _write(as_csv(rows(runs)), options.csv, "--csv")
    else:
        _write(as_prometheus(rows([newest(runs)])), options.prometheus, "--prometheus")
    return EXIT_OK


def _runs(paths: list[str]) -> list[Run]:
    """All that can be read; of a folder, a broken file is named and passed over, one given by name is an error."""
    runs = []
    for file, by_name in run_files(paths):
        try:
            runs.append(read_run(file))
        except RunWithoutJoules:
            if by_name:
                raise
        except RunError as error:
            if by_name:
                raise
            print(f"pytest-energy: passed over: {plain(str(error))}", file=sys.stderr)
    if not runs:
        raise RunUnreadable(
            f"no saved runs with joules in {', '.join(paths)}; save one with pytest --energy --benchmark-autosave"
        )
    return runs


def _write(text: str, where: str, option: str) -> None:
    if where == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        return
    try:
        Path(where).write_bytes(text.encode())
    except OSError as error:
        raise OptionError(f"{option} {where}: cannot be written: {error.strerror}") from None

"""``pytest-energy export``: saved runs for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import no_runs_in, read_each, write_text
from pytest_energy.errors import OptionError
from pytest_energy.runs.export import as_csv, as_prometheus, newest, rows, write_parquet
from pytest_energy.runs.json_format import read_run


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "export",
        help="Write saved runs as CSV, Parquet or Prometheus text.",
        description="Write a row per benchmark and run, for other tools.",
        epilog="Example: pytest-energy export .benchmarks --csv runs.csv",
    )
    command.add_argument("paths", metavar="PATH", nargs="+", help="Saved runs, or folders of them.")
    shape = command.add_mutually_exclusive_group(required=True)
    shape.add_argument(
        "--csv", metavar="FILE", help="Comma-separated values; - is standard output."
    )
    shape.add_argument(
        "--parquet", metavar="FILE", help="For DuckDB, pandas, polars; needs the extra parquet."
    )
    shape.add_argument(
        "--prometheus",
        metavar="FILE",
        help="The newest run, for a pushgateway; - is standard output.",
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Write the rows in the shape that was asked for."""
    runs = list(read_each(arguments.paths, read_run))
    if not runs:
        raise no_runs_in(arguments.paths)
    if arguments.parquet is not None:
        try:
            write_parquet(rows(runs), Path(arguments.parquet))
        except OSError as error:
            raise OptionError(
                f"--parquet {arguments.parquet}: cannot be written: {error.strerror}"
            ) from None
    elif arguments.csv is not None:
        write_text(as_csv(rows(runs)), arguments.csv, "--csv")
    else:
        write_text(as_prometheus(rows([newest(runs)])), arguments.prometheus, "--prometheus")
    return ExitCode.OK

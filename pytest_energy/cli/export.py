"""``pytest-energy export``: saved runs for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_energy.cli.arguments import CommandHelp, Commands, add_format, new_command
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import STANDARD_OUTPUT, no_runs_in, read_each, write_text
from pytest_energy.errors import OptionError
from pytest_energy.runs.export import (
    as_csv,
    as_openmetrics,
    as_prometheus,
    newest,
    rows,
    write_parquet,
)
from pytest_energy.runs.json_format import read_run

HELP = CommandHelp(
    summary="Write saved runs as CSV, Parquet, Prometheus or OpenMetrics text.",
    description="Write a row per benchmark and run, for other tools.",
    example="pytest-energy export .benchmarks --format csv --output runs.csv",
    exit_codes={ExitCode.OK: "written"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "export", HELP)
    command.add_argument("paths", metavar="PATH", nargs="+", help="Saved runs, or folders of them.")
    add_format(command, "csv", "parquet", "prometheus", "openmetrics")
    command.add_argument(
        *("-o", "--output"),
        metavar="FILE",
        default=STANDARD_OUTPUT,
        help="Write to this file (default: -, standard output).",
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Write the rows in the format of ``--format``."""
    if arguments.format == "parquet" and arguments.output == STANDARD_OUTPUT:
        raise OptionError("--format parquet requires --output FILE")
    runs = list(read_each(arguments.paths, read_run))
    if not runs:
        raise no_runs_in(arguments.paths)
    if arguments.format == "csv":
        write_text(as_csv(rows(runs)), arguments.output)
    elif arguments.format == "prometheus":
        write_text(as_prometheus(rows([newest(runs)])), arguments.output)
    elif arguments.format == "openmetrics":
        write_text(as_openmetrics(rows([newest(runs)])), arguments.output)
    else:
        try:
            write_parquet(rows(runs), Path(arguments.output))
        except OSError as error:
            raise OptionError(
                f"--output {arguments.output}: cannot be written: {error.strerror}; "
                "name another file"
            ) from None
    return ExitCode.OK

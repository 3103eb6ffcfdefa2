"""``pytest-energy report``: a saved run as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_energy.cli.arguments import CommandHelp, Commands, new_command
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import STANDARD_OUTPUT, no_runs_in, read_each, write_text
from pytest_energy.report.escape import plain
from pytest_energy.report.html import page
from pytest_energy.runs.export import newest
from pytest_energy.runs.json_format import Run, read_run
from pytest_energy.runs.summary import RunSummary, summarize_run

HELP = CommandHelp(
    summary="Write a saved run as a page that opens anywhere.",
    description="Write the newest run as one HTML file; of several runs it shows the trend.",
    example="pytest-energy report .benchmarks -o energy.html",
    exit_codes={ExitCode.OK: "written"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "report", HELP)
    command.add_argument("paths", metavar="RUN", nargs="+", help="Saved runs, or folders of them.")
    command.add_argument(
        *("-o", "--output"),
        metavar="FILE",
        default="energy.html",
        help="Write to this file (default: energy.html).",
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Write the page and print where it is."""
    last: Run | None = None
    summaries: list[RunSummary] = []
    for read, summary in read_each(arguments.paths, _read_and_summarize):
        summaries.append(summary)
        # Only one run's windows are kept in memory.
        last = read if last is None else newest([last, read])
    if last is None:
        raise no_runs_in(arguments.paths)
    text = page(last, summaries if len(summaries) > 1 else ())
    write_text(text, arguments.output)
    runs = "1 run" if len(summaries) == 1 else f"{len(summaries)} runs"
    if arguments.output != STANDARD_OUTPUT:
        print(plain(f"wrote {arguments.output}: {last.path}, {runs}"))
    return ExitCode.OK


def _read_and_summarize(file: Path) -> tuple[Run, RunSummary]:
    read = read_run(file)
    return read, summarize_run(read)

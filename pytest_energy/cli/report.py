"""``pytest-energy report``: a saved run as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import no_runs_in, read_each, write_text
from pytest_energy.report.escape import plain
from pytest_energy.report.html import page
from pytest_energy.runs.export import newest
from pytest_energy.runs.json_format import Run, read_run
from pytest_energy.runs.summary import RunSummary, summarize_run


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "report",
        help="Write a saved run as a page that opens anywhere.",
        description="Write the newest run as one HTML file; of several runs it shows the trend.",
        epilog="Example: pytest-energy report .benchmarks -o energy.html",
    )
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
    write_text(text, arguments.output, "--output")
    print(f"wrote {arguments.output}: {plain(last.path)}, {len(summaries)} runs")
    return ExitCode.OK


def _read_and_summarize(file: Path) -> tuple[Run, RunSummary]:
    read = read_run(file)
    return read, summarize_run(read)

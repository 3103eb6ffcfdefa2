"""``pytest-energy report``: a saved run as a page, two runs compared, or a site of all runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_energy.cli.arguments import CommandHelp, Commands, new_command
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.saved_files import STANDARD_OUTPUT, no_runs_in, read_each, write_text
from pytest_energy.errors import OptionError
from pytest_energy.report.escape import plain
from pytest_energy.report.html import page
from pytest_energy.report.site import BADGE, INDEX, LATEST, badge, site_index
from pytest_energy.runs.compare import compare_runs
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.export import newest
from pytest_energy.runs.history import history_of
from pytest_energy.runs.json_format import Run, read_run
from pytest_energy.runs.noise import load_noise
from pytest_energy.runs.summary import RunSummary, summarize_run

HELP = CommandHelp(
    summary="Write a saved run as a page that opens anywhere.",
    description=(
        "Write the newest run as one HTML file. Two files OLD NEW are compared; of folders and of "
        "more files it shows the trend. --site writes a folder for a web server: an index with "
        "each benchmark over time, the newest page, and a badge."
    ),
    example="pytest-energy report .benchmarks -o energy.html",
    exit_codes={
        ExitCode.OK: "written",
        ExitCode.UNUSABLE: "not done, or two runs that are not comparable; one line says why",
    },
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "report", HELP)
    command.add_argument(
        "paths", metavar="RUN", nargs="+", help="Saved runs, or folders of them; or OLD NEW."
    )
    command.add_argument(
        *("-o", "--output"),
        metavar="FILE",
        default="energy.html",
        help="Write to this file (default: energy.html).",
    )
    command.add_argument("--site", metavar="DIR", help="Write index, page and badge.json here.")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Write the page or the site, and print where it is."""
    if arguments.site is None and is_pair(arguments.paths):
        return _write_pair(arguments)
    last: Run | None = None
    summaries: list[RunSummary] = []
    for read, summary in read_each(arguments.paths, _read_and_summarize):
        summaries.append(summary)
        # Only one run's windows are kept in memory.
        last = read if last is None else newest([last, read])
    if last is None:
        raise no_runs_in(arguments.paths)
    runs = "1 run" if len(summaries) == 1 else f"{len(summaries)} runs"
    if arguments.site is not None:
        _write_site(Path(arguments.site), last, summaries)
        print(plain(f"wrote {arguments.site}: {runs}"))
        return ExitCode.OK
    write_text(page(last, history_of(summaries) if len(summaries) > 1 else None), arguments.output)
    if arguments.output != STANDARD_OUTPUT:
        print(plain(f"wrote {arguments.output}: {last.path}, {runs}"))
    return ExitCode.OK


def is_pair(paths: list[str]) -> bool:
    """Whether these are OLD and NEW: two files, and no folder."""
    return len(paths) == 2 and not any(Path(path).is_dir() for path in paths)


def _write_pair(arguments: argparse.Namespace) -> ExitCode:
    old, new = map(read_run, arguments.paths)
    before, after = summarize_run(old), summarize_run(new)
    noise = load_noise(after.machine, after.meter.name)
    comparison = compare_runs((before,), (after,), CompareOptions(), noise)
    write_text(page(new, comparison=comparison), arguments.output)
    if arguments.output != STANDARD_OUTPUT:
        print(plain(f"wrote {arguments.output}: {new.path} against {old.path}"))
    return ExitCode.OK


def _write_site(folder: Path, last: Run, summaries: list[RunSummary]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"--site {folder}: cannot be created: {error.strerror}; name another folder"
        ) from None
    history = history_of(summaries)
    write_text(page(last, history if len(summaries) > 1 else None), str(folder / LATEST))
    write_text(site_index(last, history), str(folder / INDEX))
    write_text(badge(last), str(folder / BADGE))


def _read_and_summarize(file: Path) -> tuple[Run, RunSummary]:
    read = read_run(file)
    return read, summarize_run(read)

"""``pytest-energy history``, ``export`` and ``report``: saved runs over time, for other tools, and as a page."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.errors import OptionError, RunError, RunUnreadable, RunWithoutJoules
from pytest_energy.report.escape import encodable, plain
from pytest_energy.report.history_table import history_json, history_tables
from pytest_energy.report.html import page
from pytest_energy.runs.export import as_csv, as_prometheus, newest, rows, write_parquet
from pytest_energy.runs.history import load_history
from pytest_energy.runs.json_format import Run, read_run
from pytest_energy.runs.load import run_files
from pytest_energy.runs.summary import RunSummary, summarize_run

STANDARD_OUTPUT = "-"
LOG_COLUMNS = 120  # of what is not a terminal, and has no width

T = TypeVar("T")


def add_run_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of ``pytest-energy``."""
    history = commands.add_parser(
        "history",
        help="saved runs over time: a series for each benchmark, and the commits since which it is another one",
    )
    history.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="folders of saved runs, such as .benchmarks, or files",
    )
    history.add_argument(
        "--last",
        metavar="N",
        type=int,
        help="only the newest N runs of each machine (default: all)",
    )
    history.add_argument(
        "--test", metavar="TEXT", default="", help="only benchmarks with this in their names"
    )
    history.add_argument("--json", action="store_true", help="for programs")
    history.set_defaults(run=_history)
    export = commands.add_parser(
        "export",
        help="saved runs as CSV, Parquet or Prometheus text, a row for each benchmark and run",
    )
    export.add_argument("paths", metavar="PATH", nargs="+", help="saved runs, or folders of them")
    shape = export.add_mutually_exclusive_group(required=True)
    shape.add_argument("--csv", metavar="FILE", help="comma-separated values; - is standard output")
    shape.add_argument(
        "--parquet", metavar="FILE", help="for DuckDB, pandas, polars; needs the extra parquet"
    )
    shape.add_argument(
        "--prometheus",
        metavar="FILE",
        help="of the newest run, for a pushgateway; - is standard output",
    )
    export.set_defaults(run=_export)
    report = commands.add_parser(
        "report",
        help="a saved run as a page that opens anywhere; with several, the newest, and the trend",
    )
    report.add_argument("paths", metavar="RUN", nargs="+", help="saved runs, or folders of them")
    report.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="energy.html",
        help="where to write it (default: energy.html)",
    )
    report.set_defaults(run=_report)


def _history(options: argparse.Namespace) -> int:
    if options.last is not None and options.last < 1:
        raise OptionError(f"--last takes the number of runs, 1 or more, not {options.last}")
    history = load_history(options.paths, options.last, options.test)
    for line in history.broken:
        _say_passed_over(line)
    if options.json:
        print(history_json(history))
        return ExitCode.OK
    from rich.console import Console

    console = Console(
        width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_COLUMNS,
        no_color=bool(os.environ.get("NO_COLOR")) or None,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(*history_tables(history), sep="\n")
    print(encodable(captured.get(), sys.stdout.encoding), end="")
    return ExitCode.OK


def _export(options: argparse.Namespace) -> int:
    runs = list(_read_each(options.paths, read_run))
    if not runs:
        raise _nothing_in(options.paths)
    if options.parquet is not None:
        try:
            write_parquet(rows(runs), Path(options.parquet))
        except OSError as error:
            raise OptionError(
                f"--parquet {options.parquet}: cannot be written: {error.strerror}"
            ) from None
    elif options.csv is not None:
        _write(as_csv(rows(runs)), options.csv, "--csv")
    else:
        _write(as_prometheus(rows([newest(runs)])), options.prometheus, "--prometheus")
    return ExitCode.OK


def _report(options: argparse.Namespace) -> int:
    last: Run | None = None
    boiled = []
    for run, saved in _read_each(options.paths, _whole_and_boiled_down):
        boiled.append(saved)
        last = (
            run if last is None else newest([last, run])
        )  # the others' windows are let go, file by file
    if last is None:
        raise _nothing_in(options.paths)
    _write_file(page(last, boiled if len(boiled) > 1 else ()), options.output, "--output")
    print(f"wrote {options.output}: {plain(last.path)}, {len(boiled)} runs")
    return ExitCode.OK


def _whole_and_boiled_down(file: Path) -> tuple[Run, RunSummary]:
    run = read_run(file)
    return run, summarize_run(run)


def _read_each(paths: list[str], read: Callable[[Path], T]) -> Iterator[T]:
    """What ``read`` makes of each file; of a folder, a broken file is named and passed over, one given by name is an error."""
    for file, by_name in run_files(paths):
        try:
            made = read(file)
        except RunError as error:
            if by_name:
                raise
            if not isinstance(error, RunWithoutJoules):
                _say_passed_over(str(error))
        else:
            yield made


def _nothing_in(paths: list[str]) -> RunUnreadable:
    return RunUnreadable(
        f"no saved runs with joules in {', '.join(paths)}; save one with pytest --energy --benchmark-autosave"
    )


def _say_passed_over(why: str) -> None:
    print(f"pytest-energy: passed over: {plain(why)}", file=sys.stderr)


def _write(text: str, where: str, option: str) -> None:
    if where == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
    else:
        _write_file(text, where, option)


def _write_file(text: str, where: str, option: str) -> None:
    try:
        Path(where).write_bytes(text.encode())
    except OSError as error:
        raise OptionError(
            f"{option} {where}: cannot be written: {error.strerror}; name another file"
        ) from None

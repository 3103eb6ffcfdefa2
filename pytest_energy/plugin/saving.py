"""Saving a run: the journal during the run, the file at its end, and what to do if that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_energy.errors import RunUnreadable
from pytest_energy.model import Result
from pytest_energy.plugin.benchmark_bridge import (
    commit_info,
    entries_of_windows,
    is_saved,
    replace_saving,
    storage_folder,
)
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.runs import json_format
from pytest_energy.runs.journal import Journal, unfinished_runs

JOURNAL = pytest.StashKey[Journal]()
FIRST_HEADER = pytest.StashKey[dict[str, Any]]()
NOT_SAVED = pytest.StashKey[dict[str, str]]()
"""By test: why its result is not part of the saved run."""
NOT_IN_JOURNAL = pytest.StashKey[dict[str, str]]()
"""By test: why its result is not in the journal. It may still be saved at the end."""
DEFAULT_FOLDER = ".benchmarks"
# Another run may take the number of this one, or the disk may be full for a moment.
ATTEMPTS = 3
MOST_LINES = 3


def prepare_saving(config: pytest.Config, run: MeasuringRun) -> None:
    """Before any test: what the journal needs, if tests leave it unreadable."""
    if is_saved(config):
        config.stash[FIRST_HEADER] = _header(run)


def keep_result(config: pytest.Config, run: MeasuringRun, result: Result) -> None:
    """Write the result to the journal, if this run is saved at its end."""
    if not is_saved(config):
        return
    saved = readable_json(config, result)
    if saved is None:
        return
    seconds = [window.seconds_per_call for window in result.measurement.windows]
    stats = {
        "mean": sum(seconds) / len(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "rounds": len(seconds),
    }
    benchmark = {
        "name": result.name.rpartition("::")[2],
        "fullname": result.name,
        "group": result.group,
        "stats": stats,
        "energy": saved,
    }
    try:
        _add_to_journal(config, run, benchmark)
    except Exception as error:  # noqa: BLE001 - a test may leave anything patched; reported later
        config.stash.setdefault(NOT_IN_JOURNAL, {})[result.name] = (
            f"{type(error).__name__}: {error}"
        )


def _add_to_journal(config: pytest.Config, run: MeasuringRun, benchmark: dict[str, Any]) -> None:
    if JOURNAL not in config.stash:
        try:
            header = _header(run)
        except Exception:  # noqa: BLE001 - a test may leave anything patched, or a limit lowered
            header = config.stash[FIRST_HEADER]
        config.stash[JOURNAL] = Journal(_journal_folder(config), header)
    config.stash[JOURNAL].add(benchmark)


def readable_json(config: pytest.Config, result: Result) -> dict[str, Any] | None:
    """The result as a saved run has it. If no reader accepts it: None, and a line at the end."""
    try:
        return json_format.readable_json(result)
    except RunUnreadable as error:
        config.stash.setdefault(NOT_SAVED, {})[result.name] = str(error)
        return None


def add_energy(config: pytest.Config, run: MeasuringRun, document: dict[str, Any]) -> None:
    """Add this plugin's keys to the document that pytest-benchmark saves."""
    document["energy"] = json_format.run_to_json(run.meter_info, run.idle)
    results = {result.name: result for result in run.results}
    for benchmark in document["benchmarks"]:
        # A test that ran twice has two entries. A reader accepts one.
        result = results.pop(benchmark["fullname"], None)
        saved = None if result is None else readable_json(config, result)
        if saved is not None:
            benchmark["energy"] = saved
    if not config.getoption("benchmark_save_data", False):
        _drop_seconds_of_windows(config, document)


def _drop_seconds_of_windows(config: pytest.Config, document: dict[str, Any]) -> None:
    """Our entries hold the windows, packed: 24 kB of an entry's 33 kB were their seconds again.

    ``--benchmark-save-data`` keeps them. pytest-benchmark's own commands do not read them.
    """
    ours = entries_of_windows(config)
    for benchmark in document["benchmarks"]:
        if benchmark["fullname"] in ours and "energy" in benchmark:
            benchmark["stats"].pop("data", None)


def save_safely(session: pytest.Session) -> None:
    """Save the run at its end, and report a failure in one line with exit code 4."""

    def handle(save: Callable[[], object]) -> None:
        problem = _save_with_retries(save)
        journal = session.config.stash.get(JOURNAL, None)
        for name, reason in session.config.stash.get(NOT_SAVED, {}).items():
            print_line(session.config, f"NOT SAVED: {name}: {reason}")
        if problem is None:
            if journal is not None:
                journal.delete()
            return
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        lost = session.config.stash.get(NOT_IN_JOURNAL, {})
        kept = "it has no journal" if lost and journal is None else _where_kept(journal)
        print_line(session.config, f"ERROR: the run could not be saved: {problem}; {kept}")
        for name, reason in lost.items():
            print_line(session.config, f"NOT IN THE JOURNAL: {name}: {reason}")

    replace_saving(session.config, handle)


def _save_with_retries(save: Callable[[], object]) -> str | None:
    """Save, and try again after an error. The last problem, or None.

    Tests may leave anything patched, ``json.dumps`` too. Whatever fails is reported in one line.
    """
    problem = None
    for _ in range(ATTEMPTS):
        try:
            save()
        except OSError as error:
            problem = f"{error.filename or 'the file'}: {error.strerror or error}"
        except Exception as error:  # noqa: BLE001 - see above
            problem = f"{type(error).__name__}: {error}"
        else:
            return None
    return problem


def _where_kept(journal: Journal | None) -> str:
    """Where the results of a run are that could not be saved."""
    if journal is None:
        return "no benchmark was finished"
    try:
        journal.flush()
        problem = journal.problem
    except Exception as error:  # noqa: BLE001 - a test may leave anything patched
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        return f"nor could its journal {journal.path} be written: {problem}"
    return (
        f"its benchmarks are in {journal.path}, which all commands read "
        "(pytest-energy report, compare, export)"
    )


def unfinished_lines(config: pytest.Config) -> list[str]:
    """A line for each run that ended before it was saved: its results are not lost."""
    found = list(unfinished_runs(_journal_folder(config)))
    lines = [
        f"energy: an earlier run was interrupted before it was saved; its finished results: {path}"
        for path in found[:MOST_LINES]
    ]
    if len(found) > MOST_LINES:
        lines.append(
            f"energy: and {len(found) - MOST_LINES} more; delete those that you do not need"
        )
    return lines


def _header(run: MeasuringRun) -> dict[str, Any]:
    return {
        "machine_info": {},
        "commit_info": commit_info(),
        "energy": json_format.run_to_json(run.meter_info, run.idle),
    }


def _journal_folder(config: pytest.Config) -> Path:
    return storage_folder(config) or config.rootpath / DEFAULT_FOLDER


def print_line(config: pytest.Config, line: str) -> None:
    """Print a line, unless the run has no terminal reporter."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(line)

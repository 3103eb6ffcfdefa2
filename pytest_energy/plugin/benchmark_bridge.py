"""That a run is not lost: kept as it goes, and saved or said where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_energy.errors import RunUnreadable
from pytest_energy.plugin.stash import benchmark_session
from pytest_energy.runs import json_format
from pytest_energy.runs.journal import Journal, unfinished_runs
from pytest_energy.runs.whole_file import write_new, write_whole

if TYPE_CHECKING:
    from pytest_energy.model import Result
    from pytest_energy.plugin.recorder import Session

JOURNAL = pytest.StashKey[Journal]()
NOT_SAVED = pytest.StashKey[dict[str, str]]()
"""By test: why its result is not part of the saved run."""
DEFAULT_FOLDER = ".benchmarks"
# Another run may take the number of this one, or the disk may be full for a moment.
ATTEMPTS = 3
MOST_LINES = 3


def keep_result(config: pytest.Config, session: Session, result: Result) -> None:
    """Write the result to the journal, if this run is saved at its end."""
    benchmarks = benchmark_session(config)
    if (
        benchmarks is None
        or benchmarks.disabled
        or not (benchmarks.save or benchmarks.autosave or benchmarks.json)
    ):
        return
    saved = readable_json(config, result)
    if saved is None:
        return
    if JOURNAL not in config.stash:
        config.stash[JOURNAL] = Journal(_folder(config), _header(config, session))
    seconds = [window.seconds_per_call for window in result.measurement.windows]
    stats = {
        "mean": sum(seconds) / len(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "rounds": len(seconds),
    }
    config.stash[JOURNAL].add(
        {
            "name": result.name.rpartition("::")[2],
            "fullname": result.name,
            "group": result.group,
            "stats": stats,
            "energy": saved,
        }
    )


def readable_json(config: pytest.Config, result: Result) -> dict[str, Any] | None:
    """The result as a saved run has it, or None, with a line at the end, if no reader accepts it."""
    try:
        return json_format.readable_json(result)
    except RunUnreadable as error:
        config.stash.setdefault(NOT_SAVED, {})[result.name] = str(error)
        return None


def add_energy(config: pytest.Config, session: Session, document: dict[str, Any]) -> None:
    """Add this plugin's keys to the document that pytest-benchmark saves."""
    document["energy"] = json_format.run_to_json(session.meter_info, session.idle)
    results = {result.name: result for result in session.results}
    for benchmark in document["benchmarks"]:
        # A test that ran twice has two entries. A reader accepts one.
        result = results.pop(benchmark["fullname"], None)
        saved = None if result is None else readable_json(config, result)
        if saved is not None:
            benchmark["energy"] = saved


def guard(session: pytest.Session) -> None:
    """Make pytest-benchmark save atomically, and report a failure in one line with exit code 4."""
    benchmarks = benchmark_session(session.config)
    save = getattr(benchmarks, "handle_saving", None)
    if save is None:
        return
    _save_atomically(benchmarks)

    def guarded() -> None:
        problem = _attempt(save)
        journal = session.config.stash.get(JOURNAL, None)
        for name, reason in session.config.stash.get(NOT_SAVED, {}).items():
            _say(session, f"NOT SAVED: {name}: {reason}")
        if problem is None:
            if journal is not None:
                journal.delete()
            return
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        _say(session, f"ERROR: the run could not be saved: {problem}; {_kept(journal)}")

    benchmarks.handle_saving = guarded


def _kept(journal: Journal | None) -> str:
    """Where the results of a run are that could not be saved."""
    if journal is None:
        return "no benchmark was finished"
    journal.flush()
    if journal.problem is not None:
        return f"nor could its journal {journal.path} be written: {journal.problem}"
    return (
        f"its benchmarks are in {journal.path}, which all commands read "
        "(pytest-energy report, compare, export)"
    )


def _save_atomically(benchmarks: Any) -> None:
    """Replace the writers of pytest-benchmark: theirs leave an incomplete file after a kill."""
    from pytest_benchmark.storage.file import FileStorage
    from pytest_benchmark.utils import safe_dumps

    def content(document: dict[str, Any]) -> bytes:
        return json_format.document_text(document, safe_dumps).encode()

    def save_json(document: dict[str, Any]) -> None:
        write_whole(Path(benchmarks.json), content(document))
        benchmarks.logger.info(f"Wrote benchmark data in: {benchmarks.json}", purple=True)

    benchmarks.save_json = save_json
    storage: Any = benchmarks.storage
    if isinstance(storage, FileStorage):

        def save(document: dict[str, Any], name: str) -> None:
            path = storage.get(f"{storage._next_num}_{name}.json")
            write_new(path, content(document))
            storage.logger.info(f"Saved benchmark data in: {path}")

        storage.save = save  # type: ignore[method-assign]


def unfinished_lines(config: pytest.Config) -> list[str]:
    """Runs that were ended before they were saved, so that nobody takes them for lost."""
    found = list(unfinished_runs(_folder(config)))
    lines = [
        f"energy: an earlier run was ended before it was saved; what it had finished: {path}"
        for path in found[:MOST_LINES]
    ]
    if len(found) > MOST_LINES:
        lines.append(f"energy: and {len(found) - MOST_LINES} more; remove those that nobody needs")
    return lines


def _attempt(save: Any) -> str | None:
    """Save, and try again after an error. The last problem, or None."""
    problem = None
    for _ in range(ATTEMPTS):
        try:
            save()
        except OSError as error:
            problem = f"{error.filename or 'the file'}: {error.strerror or error}"
        else:
            return None
    return problem


def _header(config: pytest.Config, session: Session) -> dict[str, Any]:
    from pytest_benchmark.utils import get_commit_info

    return {
        "machine_info": {},
        "commit_info": get_commit_info(),
        "energy": json_format.run_to_json(session.meter_info, session.idle),
    }


def _folder(config: pytest.Config) -> Path:
    storage = getattr(benchmark_session(config), "storage", None)
    return Path(getattr(storage, "path", config.rootpath / DEFAULT_FOLDER))


def _say(session: pytest.Session, line: str) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(line)

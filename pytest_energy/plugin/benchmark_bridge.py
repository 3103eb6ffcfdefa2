"""That a run is not lost: kept as it goes, and saved or said where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_energy.plugin.stash import benchmark_session
from pytest_energy.runs import json_format
from pytest_energy.runs.journal import Journal, unfinished_runs

if TYPE_CHECKING:
    from pytest_energy.model import Result
    from pytest_energy.plugin.recorder import Session

JOURNAL = pytest.StashKey[Journal]()
TROUBLE = pytest.StashKey[str]()
DEFAULT_FOLDER = ".benchmarks"
# Another run may take the same number between pytest-benchmark's look and its write: then the next one is free.
ATTEMPTS = 3
MOST_LINES = 3


def keep_result(config: pytest.Config, session: Session, result: Result) -> None:
    """Write it to the journal. Where that cannot be, it is said once at the end, and the run goes on."""
    benchmarks = benchmark_session(config)
    if (
        benchmarks is None
        or benchmarks.disabled
        or not (benchmarks.save or benchmarks.autosave or benchmarks.json)
    ):
        return
    if TROUBLE in config.stash:
        return
    try:
        if JOURNAL not in config.stash:
            config.stash[JOURNAL] = Journal(_folder(config), _header(config, session))
        seconds = [window.seconds_per_call for window in result.measurement.windows]
        mean = sum(seconds) / len(seconds)
        config.stash[JOURNAL].add(
            {
                "name": result.name.rpartition("::")[2],
                "fullname": result.name,
                "group": result.group,
                "stats": {
                    "mean": mean,
                    "min": min(seconds),
                    "max": max(seconds),
                    "rounds": len(seconds),
                },
                "energy": json_format.result_to_json(result),
            }
        )
    except OSError as error:
        config.stash[TROUBLE] = f"{error.strerror or error}"


def guard(session: pytest.Session) -> None:
    """Have pytest-benchmark's saving end in a line and an exit code where it fails, and not in a traceback and a lost run."""
    benchmarks = benchmark_session(session.config)
    save = getattr(benchmarks, "handle_saving", None)
    if save is None:
        return

    def guarded() -> None:
        journal = session.config.stash.get(JOURNAL, None)
        problem = _attempt(save)
        if problem is None:
            if journal is not None:
                journal.delete()
            return
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if journal is None or TROUBLE in session.config.stash:
            kept = f"nor could it be kept as it went: {session.config.stash.get(TROUBLE, 'nothing was finished')}"
        else:
            journal.close()
            kept = f"its benchmarks are in {journal.path}, which all commands read (pytest-energy report, compare, export)"
        _say(session, f"ERROR: the run could not be saved: {problem}; {kept}")

    benchmarks.handle_saving = guarded


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
    problem = None
    for _ in range(ATTEMPTS):
        try:
            save()
        except AssertionError:  # the number was taken
            problem = "its number was taken by another run"
        except OSError as error:
            return f"{error.filename or 'the file'}: {error.strerror or error}"
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

"""Everything that touches pytest-benchmark: its session, fixture, entries, table and saved files.

No other module reads its private attributes. It is imported in measuring runs only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.stats import Metadata
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import get_commit_info, safe_dumps

from pytest_energy.errors import RunUnreadable
from pytest_energy.model import Result
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.plugin.recorder import Recorder
from pytest_energy.runs import json_format
from pytest_energy.runs.journal import Journal, unfinished_runs
from pytest_energy.runs.whole_file import write_new, write_whole

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True

JOURNAL = pytest.StashKey[Journal]()
NOT_SAVED = pytest.StashKey[dict[str, str]]()
"""By test: why its result is not part of the saved run."""
NOT_IN_JOURNAL = pytest.StashKey[dict[str, str]]()
"""By test: why its result is not in the journal. It may still be saved at the end."""
DEFAULT_FOLDER = ".benchmarks"
# Another run may take the number of this one, or the disk may be full for a moment.
ATTEMPTS = 3
MOST_LINES = 3


def benchmark_session(config: pytest.Config) -> Any:
    """pytest-benchmark's session of this run; None with ``-p no:benchmark``."""
    return getattr(config, "_benchmarksession", None)


def commit_info() -> dict[str, Any]:
    """The project's commit, as pytest-benchmark saves it."""
    info: dict[str, Any] = get_commit_info()
    return info


def storage_folder(config: pytest.Config) -> Path | None:
    """The folder of saved runs; None if pytest-benchmark stores none in a folder."""
    path = getattr(getattr(benchmark_session(config), "storage", None), "path", None)
    return None if path is None else Path(path)


# The fixture.


class MeasuredBenchmark(BenchmarkFixture):
    """pytest-benchmark's fixture. After its own rounds, it measures the same call with the meter.

    Its rounds may last microseconds, too short for any counter. `take_over` gives this class to
    the finished fixture: suites need no change, and pytest-benchmark's type check holds.
    """

    energy_recorder: Recorder

    @classmethod
    def take_over(cls, fixture: Any, recorder: Recorder | None) -> None:
        """Give pytest-benchmark's fixture this class. Another plugin's fixture stays as it is."""
        measured: Any = fixture
        if type(fixture) is BenchmarkFixture:
            measured.__class__ = cls
            measured.energy_recorder = recorder

    def __call__(self, function_to_benchmark: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(function_to_benchmark, *args, **kwargs)
        if self._is_measured:
            self.energy_recorder.measure(partial(function_to_benchmark, *args, **kwargs))
        else:
            self.energy_recorder.skip_disabled_benchmark()
        return result

    def pedantic(self, *given: Any, **named: Any) -> Any:
        result = super().pedantic(*given, **named)
        if not self._is_measured:
            self.energy_recorder.skip_disabled_benchmark()
            return result
        # pytest-benchmark 5.1 has no teardown, so its own signature names the arguments.
        bound = signature(super().pedantic).bind(*given, **named).arguments
        target, args, kwargs = bound["target"], bound.get("args", ()), bound.get("kwargs") or {}
        setup, teardown = bound.get("setup"), bound.get("teardown")
        if setup is None and teardown is None:
            self.energy_recorder.measure(partial(target, *args, **kwargs))
        else:
            self.energy_recorder.measure_prepared(_rounds(target, args, kwargs, setup, teardown))
        return result

    @property
    def _is_measured(self) -> bool:
        return bool(self.enabled) or self.energy_recorder.measures_disabled_benchmarks


def _rounds(
    target: Callable[..., object],
    args: Iterable[Any],
    kwargs: Mapping[str, Any],
    setup: Callable[[], tuple[Iterable[Any], Mapping[str, Any]] | None] | None,
    teardown: Callable[..., object] | None,
) -> Generator[Callable[[], object], None, None]:
    """A call for each window, with setup before and teardown after it, as in pedantic()."""
    while True:
        prepared = setup() if setup is not None else None
        call_args, call_kwargs = prepared or (args, kwargs)
        yield partial(target, *call_args, **call_kwargs)
        if teardown is not None:
            teardown(*call_args, **call_kwargs)


# Its options that skip tests.

ONLY, SKIP = "--benchmark-only", "--benchmark-skip"


def keep_energy_tests(items: Iterable[pytest.Item]) -> None:
    """Run tests with the ``energy`` fixture under ``--benchmark-only``: they are benchmarks."""
    for item in items:
        if "energy" in getattr(item, "fixturenames", ()):
            item.own_markers[:] = [mark for mark in item.own_markers if not _skips(mark, ONLY)]


def skip_option(item: pytest.Item) -> str | None:
    """The option with which pytest-benchmark skips this test, or None."""
    options = (ONLY, SKIP)
    return next((o for o in options if any(_skips(mark, o) for mark in item.own_markers)), None)


def _skips(mark: pytest.Mark, option: str) -> bool:
    """Whether pytest-benchmark added this mark. Its reason is all that distinguishes it."""
    return mark.name == "skip" and f"({option} active)" in str(mark.kwargs.get("reason"))


# The entries of the saved run.


class EnergyEntry(Metadata):
    """An entry among pytest-benchmark's, made from this plugin's windows."""


def add_entry(item: pytest.Item, result: Result) -> None:
    """Add a result to what pytest-benchmark saves: one round per window, its seconds per call.

    A test with a ``benchmark`` fixture has an entry already.
    """
    benchmarks = benchmark_session(item.config)
    if benchmarks is None or benchmarks.disabled:
        return
    if result.name == item.nodeid and "benchmark" in getattr(item, "funcargs", {}):
        return
    callspec = getattr(item, "callspec", None)
    windows = result.measurement.windows
    fixture = SimpleNamespace(
        name=item.name + result.name[len(item.nodeid) :],  # with the name of a phase
        fullname=result.name,
        group=result.group,
        param=callspec.id if callspec else None,
        params=callspec.params if callspec else None,
        extra_info={},
        cprofile_stats=None,
        has_error=False,
    )
    entry = EnergyEntry(fixture, windows[0].calls, {"timer": "perf_counter", "disable_gc": True})
    for window in windows:
        entry.stats.update(window.seconds_per_call)
    benchmarks.benchmarks.append(entry)


def delete_entries(item: pytest.Item) -> None:
    """Delete the entries of an earlier attempt at this test."""
    benchmarks = benchmark_session(item.config)
    if benchmarks is not None:
        benchmarks.benchmarks = [
            entry
            for entry in benchmarks.benchmarks
            if entry.fullname != item.nodeid and not entry.fullname.startswith(f"{item.nodeid}::")
        ]


def hide_own_table(config: pytest.Config) -> None:
    """Hide pytest-benchmark's table if this plugin's table has all of its entries."""
    benchmarks = benchmark_session(config)
    if benchmarks is not None and all(
        isinstance(entry, EnergyEntry) for entry in benchmarks.benchmarks
    ):
        benchmarks.quiet = True


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


# Saving, and the journal until then.


def keep_result(config: pytest.Config, run: MeasuringRun, result: Result) -> None:
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
    except Exception as error:  # noqa: BLE001 - a test may leave anything patched; reported at the end
        config.stash.setdefault(NOT_IN_JOURNAL, {})[result.name] = (
            f"{type(error).__name__}: {error}"
        )


def _add_to_journal(config: pytest.Config, run: MeasuringRun, benchmark: dict[str, Any]) -> None:
    if JOURNAL not in config.stash:
        config.stash[JOURNAL] = Journal(_journal_folder(config), _header(run))
    config.stash[JOURNAL].add(benchmark)


def readable_json(config: pytest.Config, result: Result) -> dict[str, Any] | None:
    """The result as a saved run has it. If no reader accepts it: None, and a line at the end."""
    try:
        return json_format.readable_json(result)
    except RunUnreadable as error:
        config.stash.setdefault(NOT_SAVED, {})[result.name] = str(error)
        return None


def save_safely(session: pytest.Session) -> None:
    """Make pytest-benchmark save atomically, and report a failure in one line with exit code 4."""
    benchmarks = benchmark_session(session.config)
    save = getattr(benchmarks, "handle_saving", None)
    if save is None:
        return
    _save_atomically(benchmarks)

    def handle_saving() -> None:
        problem = _save_with_retries(save)
        journal = session.config.stash.get(JOURNAL, None)
        for name, reason in session.config.stash.get(NOT_SAVED, {}).items():
            _print(session, f"NOT SAVED: {name}: {reason}")
        if problem is None:
            if journal is not None:
                journal.delete()
            return
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        lost = session.config.stash.get(NOT_IN_JOURNAL, {})
        kept = "it has no journal" if lost and journal is None else _where_kept(journal)
        _print(session, f"ERROR: the run could not be saved: {problem}; {kept}")
        for name, reason in lost.items():
            _print(session, f"NOT IN THE JOURNAL: {name}: {reason}")

    benchmarks.handle_saving = handle_saving


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


def _save_atomically(benchmarks: Any) -> None:
    """Replace the writers of pytest-benchmark: theirs leave an incomplete file after a kill."""

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


def _header(run: MeasuringRun) -> dict[str, Any]:
    return {
        "machine_info": {},
        "commit_info": commit_info(),
        "energy": json_format.run_to_json(run.meter_info, run.idle),
    }


def _journal_folder(config: pytest.Config) -> Path:
    return storage_folder(config) or config.rootpath / DEFAULT_FOLDER


def _print(session: pytest.Session, line: str) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(line)

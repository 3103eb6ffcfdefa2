"""Everything that touches pytest-benchmark: its session, fixture, entries, table and saving.

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

from pytest_energy.model import Result
from pytest_energy.plugin.recorder import Recorder
from pytest_energy.runs import json_format
from pytest_energy.runs.whole_file import write_new, write_whole

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True


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
            if recorder is not None and recorder.measures_disabled_benchmarks:
                measured.disabled = True  # only the recorder's calls are of use

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
    if result.name == item.nodeid and any(e.fullname == item.nodeid for e in benchmarks.benchmarks):
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


def entries_of_windows(config: pytest.Config) -> set[str]:
    """The tests whose entries were made from our windows."""
    benchmarks = benchmark_session(config)
    return {
        entry.fullname
        for entry in getattr(benchmarks, "benchmarks", ())
        if isinstance(entry, EnergyEntry)
    }


def hide_own_table(config: pytest.Config) -> None:
    """Hide pytest-benchmark's table if this plugin's table has all of its entries."""
    benchmarks = benchmark_session(config)
    if benchmarks is not None and all(
        isinstance(entry, EnergyEntry) for entry in benchmarks.benchmarks
    ):
        benchmarks.quiet = True


# Saving.


def is_saved(config: pytest.Config) -> bool:
    """Whether pytest-benchmark saves this run at its end."""
    benchmarks = benchmark_session(config)
    return bool(
        benchmarks is not None
        and not benchmarks.disabled
        and (benchmarks.save or benchmarks.autosave or benchmarks.json)
    )


def replace_saving(config: pytest.Config, handle: Callable[[Callable[[], object]], object]) -> None:
    """Make pytest-benchmark save atomically, by ``handle``, which gets its function that saves."""
    benchmarks = benchmark_session(config)
    save = getattr(benchmarks, "handle_saving", None)
    if save is not None:
        _save_atomically(benchmarks)
        benchmarks.handle_saving = partial(handle, save)


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

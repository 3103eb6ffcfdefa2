"""One attempt at a test: what records it, what becomes of what it measured, and why it fails.

Imported in each run of everybody who has the plugin installed; what only a measuring run needs is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_energy.plugin.stash import FLOORS, GATE, RECORDER, SESSION, WORKER, benchmark_session

if TYPE_CHECKING:
    import pytest

    from pytest_energy.commits.worker import ServingRecorder
    from pytest_energy.model import Result
    from pytest_energy.plugin.recorder import Recorder


def recorder_of(item: pytest.Item) -> Recorder | ServingRecorder | None:
    """The recorder of this test, or None without ``--energy``."""
    if WORKER in item.config.stash:
        return item.config.stash[WORKER].recorder
    session = item.config.stash.get(SESSION, None)
    if session is None:
        return None
    if RECORDER not in item.stash:
        from pytest_energy.plugin.recorder import AgainstRecorder, Recorder

        mark = item.get_closest_marker("benchmark")
        known = (item.nodeid, item.stash[GATE], mark.kwargs.get("group") if mark else None)
        against = session.against
        item.stash[RECORDER] = (
            Recorder(session, *known)
            if against is None
            else AgainstRecorder(session, against, *known)
        )
    return item.stash[RECORDER]


def forget(item: pytest.Item) -> None:
    """What an attempt before this one measured, if there was one."""
    if RECORDER not in item.stash:
        return
    del item.stash[RECORDER]
    session = item.config.stash[SESSION]
    session.results = [result for result in session.results if result.name != item.nodeid]
    benchmarks = benchmark_session(item.config)
    if benchmarks is not None:
        benchmarks.benchmarks = [
            each for each in benchmarks.benchmarks if each.fullname != item.nodeid
        ]
    item.user_properties = [
        each for each in item.user_properties if not str(each[0]).startswith("energy")
    ]


def conclude(item: pytest.Item) -> Result | None:
    """The judged result, kept in every place where somebody will look for it; None where nothing was measured."""
    recorder = item.stash.get(RECORDER, None)
    result = recorder.result() if recorder is not None else None
    if result is None:
        return None
    from pytest_energy.plugin.benchmark_bridge import keep_result
    from pytest_energy.report.junit import properties

    session = item.config.stash[SESSION]
    session.results.append(result)
    item.user_properties += properties(result)
    _save_with_benchmarks(item, result)
    keep_result(item.config, session, result)  # on disk at once, in a run that is to be saved
    return result


def unmet_floors(item: pytest.Item) -> list[str]:
    """Accuracy needs no meter: its floors hold without ``--energy``, too."""
    failed = item.stash.get(FLOORS, [])
    if not failed:
        return []
    from pytest_energy.report.terminal import floor_complaint

    return [floor_complaint(quality) for quality in failed]


def unasked(item: pytest.Item) -> list[str]:
    """A test whose marker asks for something, and that measured nothing, must not pass in silence."""
    if SESSION not in item.config.stash or item.stash[GATE].asks_nothing:
        return []
    return ["energy gate: a marker of this test asks for something, and the test measured nothing"]


def complaints(result: Result, strict: bool) -> list[str]:
    """A line for each verdict that fails the test."""
    from pytest_energy.report.terminal import complaint

    return [
        complaint(verdict)
        for verdict in result.verdicts
        if verdict.fails or (strict and verdict.verdict == "inconclusive")
    ]


def _save_with_benchmarks(item: pytest.Item, result: Result) -> None:
    """Have pytest-benchmark save this result; a test with its own ``benchmark`` has its entry already."""
    benchmarks = benchmark_session(item.config)
    if benchmarks is None or benchmarks.disabled or "benchmark" in getattr(item, "funcargs", {}):
        return
    from pytest_energy.plugin.benchmark_entry import benchmark_entry

    benchmarks.benchmarks.append(benchmark_entry(item, result))

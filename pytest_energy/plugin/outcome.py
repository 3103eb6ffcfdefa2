"""One test: its recorder, and what happens when it ends.

Imported in every run of pytest, so it imports the rest when a test measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_energy.plugin.command_line import options_of
from pytest_energy.plugin.stash import FLOORS, GATE, RECORDER, RESULTS, RUN, WORKER

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_energy.model import Result
    from pytest_energy.plugin.recorder import Recorder


def recorder_of(item: pytest.Item) -> Recorder | None:
    """The recorder of this test, or None without ``--energy``."""
    if WORKER in item.config.stash:
        return item.config.stash[WORKER].recorder
    run = item.config.stash.get(RUN, None)
    if run is None:
        return None
    if GATE not in item.stash:
        raise pytest.UsageError(
            "the energy plugin was unregistered during the run, so it cannot gate this test; "
            "remove what unregisters it, or run without --energy"
        )
    if RECORDER not in item.stash:
        from pytest_energy.plugin.against_recorder import AgainstRecorder
        from pytest_energy.plugin.recorder import CountingOnlyRecorder, ThisTreeRecorder

        mark = item.get_closest_marker("benchmark")
        test = (item.nodeid, item.stash[GATE], mark.kwargs.get("group") if mark else None)
        if run.counts_only:
            item.stash[RECORDER] = CountingOnlyRecorder(run, *test)
        elif not run.against:
            item.stash[RECORDER] = ThisTreeRecorder(run, *test)
        else:
            item.stash[RECORDER] = AgainstRecorder(run, run.against, *test)
    return item.stash[RECORDER]


def test_ended(item: pytest.Item, passed: bool) -> None:
    """Judge what the test measured, add it to the run, and fail the test with a line per reason.

    `keep_on_disk` writes it after the test's teardown, which undoes what the test patched.
    """
    recorder = item.stash.get(RECORDER, None)
    if recorder is not None:
        from pytest_energy.plugin.markers import read_gate

        # A fixture or the test itself may have added a marker.
        read_gate(item, options_of(item.config))
        recorder.use_gate(item.stash[GATE])
    results = recorder.results() if recorder is not None else []
    problems = []
    for result in results:
        add_result(item, result)
        problems += failed_verdicts(result, options_of(item.config).strict)
    item.stash[RESULTS] = results
    if not any(result.name == item.nodeid for result in results):
        problems += [*unmet_floors(item), *asked_but_not_measured(item, results)]
    if passed and problems:
        pytest.fail("\n".join(problems), pytrace=False)


def add_result(item: pytest.Item, result: Result) -> None:
    """Add the result to the run, the JUnit report and pytest-benchmark's entries."""
    from pytest_energy.plugin.benchmark_bridge import add_entry
    from pytest_energy.report.junit import properties

    run = item.config.stash[RUN]
    run.results.append(result)
    run.measured_tests.add(item.nodeid)
    item.user_properties += properties(result)
    add_entry(item, result)


class ResultKeeper:
    """Writes a test's result after its teardown, and before pytest reports that it has ended."""

    def __init__(self) -> None:
        self._item: pytest.Item | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._item = item
        handled = yield
        keep_on_disk(item)  # another plugin may report in its own way
        return handled

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        item = self._item
        # pytest-rerunfailures reports no teardown of an attempt that it repeats.
        if item is not None and report.when == "teardown" and report.nodeid == item.nodeid:
            keep_on_disk(item)


def keep_on_disk(item: pytest.Item) -> None:
    """Write the test's result to the journal, from which a killed run can be read."""
    run = item.config.stash.get(RUN, None)
    results = item.stash.get(RESULTS, [])
    if run is None or not results:
        return
    from pytest_energy.plugin.process_state import leave_deleted_folder
    from pytest_energy.plugin.saving import keep_result

    leave_deleted_folder(item.config)
    for result in results:
        keep_result(item.config, run, result)
    del item.stash[RESULTS]


def delete_earlier_attempt(item: pytest.Item) -> None:
    """Delete what a failed attempt at this test measured, before the test runs again."""
    if RECORDER not in item.stash:
        return
    from pytest_energy.plugin.benchmark_bridge import delete_entries

    del item.stash[RECORDER]
    run = item.config.stash[RUN]
    run.results = [result for result in run.results if not is_of(item, result.name)]
    delete_entries(item)
    item.user_properties = [
        each for each in item.user_properties if not str(each[0]).startswith("energy")
    ]


def is_of(item: pytest.Item, name: str) -> bool:
    """Whether a result of this name is the test's own, or one of its phases."""
    return name == item.nodeid or name.startswith(f"{item.nodeid}::")


def unmet_floors(item: pytest.Item) -> list[str]:
    """A line for each quality below its floor. A floor needs no meter and no ``--energy``."""
    failed = item.stash.get(FLOORS, [])
    if not failed:
        return []
    from pytest_energy.report.terminal import floor_complaint

    return [floor_complaint(quality) for quality in failed]


def asked_but_not_measured(item: pytest.Item, phases: list[Result]) -> list[str]:
    """A line if a marker of the test requires a measurement, and the test made none.

    Limits hold for phases, too. The ratios of ``gps_up`` need a comparison.
    """
    if RUN not in item.config.stash or item.stash[GATE].asks_nothing:
        return []
    if phases and item.stash[GATE].thresholds is None:
        return []
    return [
        "energy gate: a marker of this test requires a measurement, and the test measured nothing"
    ]


def open_status(report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """pytest's category, letter and word for a test with an inconclusive verdict."""
    for name, value in report.user_properties:
        if name.startswith("energy_verdict_") and value.startswith("inconclusive"):
            return "passed", "?", ("INCONCLUSIVE", {"yellow": True})
    return None


def failed_verdicts(result: Result, strict: bool) -> list[str]:
    """A line for each verdict that fails the test."""
    from pytest_energy.report.terminal import complaint

    return [
        complaint(verdict)
        for verdict in result.verdicts
        if verdict.fails or (strict and verdict.verdict == "inconclusive")
    ]

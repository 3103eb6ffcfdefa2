"""The hooks of the pytest plugin, and its fixture.

pytest imports this module in every run where the plugin is installed. So each hook imports what it
needs only if the run measures: studies/startup.py has the milliseconds.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

import pytest_energy.clock  # noqa: F401 - holds the clocks before a test can replace them
from pytest_energy.plugin import command_line, hookspecs, outcome
from pytest_energy.plugin.stash import CLEANUP, FLOORS, RUN, WORKER

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_energy.plugin.fixtures import EnergyFixture


def pytest_addoption(parser: pytest.Parser) -> None:
    command_line.register(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    command_line.complete_bare_compare(early_config, parser, args)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    for marker in command_line.MARKERS:
        config.addinivalue_line("markers", marker)
    command_line.check(config)
    if WORKER in config.stash:
        options = command_line.options_of(config)
        config.stash[WORKER].configure(options, hookspecs.synchronizer(config))
    elif command_line.measures(config):
        from pytest_energy.plugin.run_start import open_run

        config.stash[RUN] = open_run(config, command_line.options_of(config))


def pytest_sessionstart(session: pytest.Session) -> None:
    if RUN in session.config.stash:
        from pytest_energy.plugin.run_start import load_baseline

        load_baseline(session.config, session.config.stash[RUN])


def pytest_report_header(config: pytest.Config) -> list[str]:
    if RUN not in config.stash:
        return []
    from pytest_energy.plugin.run_start import header_lines

    return header_lines(config, config.stash[RUN])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Read all markers before any test runs, so that a typo costs no time. Conftest files add
    markers in pytest_collection_modifyitems, some of them after every plugin."""
    config = session.config
    measuring = RUN in config.stash or WORKER in config.stash
    for item in session.items:
        if measuring or item.get_closest_marker("energy") or item.get_closest_marker("gps_up"):
            from pytest_energy.plugin.markers import read_gate

            read_gate(item, command_line.options_of(config))
    if RUN in config.stash and not config.option.collectonly:
        from pytest_energy.plugin.benchmark_bridge import keep_energy_tests
        from pytest_energy.plugin.run_start import (
            prepare_fresh_processes,
            share_suite_alpha,
            show_progress,
            start_against,
        )
        from pytest_energy.plugin.ungated import check_skipped

        keep_energy_tests(session.items)
        check_skipped(session, config.stash[RUN])
        share_suite_alpha(session, config.stash[RUN])
        show_progress(session, config.stash[RUN])
        start_against(session, config.stash[RUN])
        prepare_fresh_processes(session, config.stash[RUN])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    run = session.config.stash.get(RUN, None)
    if run is None or session.config.option.collectonly:
        return (yield)
    from pytest_energy.plugin.run_start import exclusive_machine

    with exclusive_machine(session, run):
        return (yield)


@pytest.fixture
def energy(request: pytest.FixtureRequest) -> EnergyFixture:
    """Measure joules, watts and seconds of a call, or compare two calls."""
    from pytest_energy.plugin.fixtures import EnergyFixture

    fixture = EnergyFixture(outcome.recorder_of(request.node))
    request.node.stash[FLOORS] = fixture.failed_floors
    return fixture


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Make pytest-benchmark's fixture measure joules too."""
    value = yield
    stash = request.config.stash
    if fixturedef.argname == "benchmark" and (RUN in stash or WORKER in stash):
        from pytest_energy.plugin.benchmark_bridge import MeasuredBenchmark

        MeasuredBenchmark.take_over(value, outcome.recorder_of(request.node))
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    outcome.delete_earlier_attempt(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    if RUN in item.config.stash:
        from pytest_energy.plugin.run_start import limit_pools

        limit_pools(item.config.stash[RUN])
    try:
        returned = yield
    except BaseException:
        outcome.test_ended(item, passed=False)
        raise
    outcome.test_ended(item, passed=True)
    return returned


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and report.failed:
        from pytest_energy.plugin.failed_lines import value_first

        value_first(report, item.config)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
    """A passed test with an open verdict counts as passed, and has a letter of its own."""
    if RUN not in config.stash or report.when != "call" or not report.passed:
        return None
    return outcome.open_status(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Before pytest-benchmark's, which saves the run."""
    run = session.config.stash.get(RUN, None)
    if run is not None:
        from pytest_energy.plugin.run_end import run_ended

        run_ended(session, run)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Before pytest-benchmark's, whose table may be hidden."""
    run = config.stash.get(RUN, None)
    if run is not None:
        from pytest_energy.plugin.run_end import one_line_for_a_fault, print_summary

        with one_line_for_a_fault(config, "printing the results"):
            print_summary(terminalreporter, config, run)


def pytest_unconfigure(config: pytest.Config) -> None:
    if CLEANUP in config.stash:
        config.stash[CLEANUP].close()
    if RUN in config.stash:
        config.stash[RUN].close()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Remove the host's name: other people read saved runs."""
    if RUN in config.stash:
        machine_info["node"] = ""


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: object, output_json: dict[str, Any]
) -> None:
    if RUN in config.stash:
        from pytest_energy.plugin.saving import add_energy

        add_energy(config, config.stash[RUN], output_json)

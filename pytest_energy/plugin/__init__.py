"""The hooks of the pytest plugin. No arithmetic here: what to do is said in the modules that these call.

pytest loads this in each run of everybody who has it installed. So whatever a run without ``--energy`` does not
need is imported where it is used: studies/startup.py has the milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import pytest_energy.clock  # noqa: F401 - holds the clocks before a test can replace them
from pytest_energy.errors import MeterUnavailable, OptionError
from pytest_energy.options import Options
from pytest_energy.plugin import command_line, hookspecs
from pytest_energy.plugin.command_line import (
    check_with_energy,
    check_without_energy,
    given_texts,
    options_of,
)
from pytest_energy.plugin.outcome import (
    complaints,
    conclude,
    forget,
    recorder_of,
    unasked,
    unmet_floors,
)
from pytest_energy.plugin.stash import (
    BASELINE,
    CLEANUP,
    FLOORS,
    GATE,
    SESSION,
    WORKER,
    benchmark_session,
)

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_energy.plugin.fixtures import EnergyFixture
    from pytest_energy.plugin.recorder import Session

MARKERS = (
    "energy(max_joules, max_watts, max_seconds, tolerance): the most that one call may take, all optional.",
    "gps_up(speedup, greenup): what energy.versus has to reach, both optional.",
)


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
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if any(given_texts(config).values()):
        options_of(config)  # refuse a wrong value without --energy too
    if WORKER in config.stash:
        config.stash[WORKER].configure(options_of(config), hookspecs.synchronizer(config))
    elif config.getoption("--energy"):
        check_with_energy(config)
        config.stash[SESSION] = open_session(config, options_of(config))
    else:
        check_without_energy(config)


def open_session(config: pytest.Config, options: Options) -> Session:
    from pytest_energy.meters import open_meter
    from pytest_energy.plugin.recorder import Session

    try:
        meter = open_meter(options.meter, options.meter_settings)
    except MeterUnavailable as error:
        raise pytest.UsageError(f"--energy-meter {options.meter}: {error}") from None
    except OptionError as error:
        raise pytest.UsageError(str(error)) from None
    return Session(options, meter, hookspecs.synchronizer(config))


def pytest_sessionstart(session: pytest.Session) -> None:
    """The saved run is read before anything runs, so that a wrong path is not found after an hour."""
    wanted = session.config.getoption("--energy-compare")
    if wanted is None:
        return
    from pytest_energy.errors import RunError
    from pytest_energy.runs.load import load_runs

    try:
        path = wanted or newest_saved(session.config)
        session.config.stash[BASELINE] = load_runs(path, on_skip=skip_line(session.config))
    except RunError as error:
        raise pytest.UsageError(f"--energy-compare: {error}") from None


def newest_saved(config: pytest.Config) -> str:
    """The newest run in pytest-benchmark's storage that has joules."""
    from pytest_energy.runs.load import load_runs

    storage = getattr(getattr(benchmark_session(config), "storage", None), "path", None)
    if storage is None:
        raise pytest.UsageError(
            "--energy-compare: no folder of saved runs is known here; name one with --energy-compare=RUN"
        )
    return load_runs(storage, last=1, on_skip=skip_line(config))[0].path


def skip_line(config: pytest.Config) -> Callable[[str], None]:
    """Prints a line for a broken file among the saved runs."""
    from pytest_energy.report.escape import plain

    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def print_line(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"--energy-compare: skipped: {plain(line)}")

    return print_line


def pytest_report_header(config: pytest.Config) -> list[str]:
    session = config.stash.get(SESSION, None)
    if session is None:
        return []
    from pytest_energy.plugin.benchmark_bridge import unfinished_lines
    from pytest_energy.report.terminal import header

    return [*header(session.meter_info), *unfinished_lines(config)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Markers are read before anything runs, so that a typo is not found after an hour."""
    measuring = SESSION in config.stash or WORKER in config.stash
    for item in items:
        marks = {
            name: mark
            for name in ("energy", "gps_up")
            if (mark := item.get_closest_marker(name)) is not None
        }
        if not measuring and not marks:
            continue  # nothing is asked here and nobody asks
        from pytest_energy.plugin.markers import Mark, gate_from_marks

        asked = {
            name: Mark(mark.name, mark.args, dict(mark.kwargs)) for name, mark in marks.items()
        }
        try:
            item.stash[GATE] = gate_from_marks(
                asked.get("energy"), asked.get("gps_up"), options_of(config)
            )
        except OptionError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the workers of ``--energy-against``: now it is known that there is something to measure."""
    config = session.config
    verbose = getattr(config.option, "verbose", 0)  # not there with -p no:terminal in pytest 8.1
    if SESSION in config.stash and verbose > 0 and not config.option.collectonly:
        from pytest_energy.plugin.progress import Progress

        measuring = [
            item
            for item in session.items
            if {"energy", "benchmark"} & set(getattr(item, "fixturenames", ()))
        ]
        ours = config.stash[SESSION]
        ours.progress = Progress(config, len(measuring), ours.plan.max_time_s)
        config.pluginmanager.register(ours.progress, "energy-progress")
    revision = config.getoption("--energy-against")
    if (
        revision is None
        or SESSION not in config.stash
        or config.option.collectonly
        or not session.items
    ):
        return
    from pytest_energy.commits.against import start
    from pytest_energy.plugin.worker_options import worker_command_line

    config.stash[CLEANUP] = ExitStack()
    try:
        config.stash[SESSION].against = config.stash[CLEANUP].enter_context(
            start(
                revision,
                config.invocation_params.dir.resolve(),
                worker_command_line(config),
                config.getoption("--energy-against-python"),
            )
        )
    except OptionError as error:
        raise pytest.UsageError(f"--energy-against {revision}: {error}") from None


@pytest.fixture
def energy(request: pytest.FixtureRequest) -> EnergyFixture:
    """Measure joules, watts and seconds of a call, or compare two; see pytest_energy.plugin.fixtures.EnergyFixture."""
    from pytest_energy.plugin.fixtures import EnergyFixture

    fixture = EnergyFixture(recorder_of(request.node))
    request.node.stash[FLOORS] = fixture.failed_floors
    return fixture


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Give pytest-benchmark's own fixture our windows, with no change to the suite that uses it."""
    value = yield
    if fixturedef.argname == "benchmark" and (
        SESSION in request.config.stash or WORKER in request.config.stash
    ):
        from pytest_energy.plugin.fixtures import MeasuredBenchmark

        MeasuredBenchmark.take_over(value, recorder_of(request.node))
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that is run again (pytest-rerunfailures) starts afresh: what its failed attempt measured is no result."""
    forget(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After the test's own body: judge what it measured, and fail it as a test fails."""
    try:
        outcome = yield
    finally:
        result = conclude(item)
    problems = (
        complaints(result, options_of(item.config).strict)
        if result is not None
        else unmet_floors(item) + unasked(item)
    )
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
    return outcome


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """A saved run goes to other people, so it names no host."""
    if SESSION in config.stash:
        machine_info["node"] = ""


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: object, output_json: dict[str, Any]
) -> None:
    session = config.stash.get(SESSION, None)
    if session is None:
        return
    from pytest_energy.plugin.benchmark_bridge import add_energy

    add_energy(config, session, output_json)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """A measuring run has the machine to itself."""
    ours = session.config.stash.get(SESSION, None)
    if ours is None or session.config.option.collectonly:
        return (yield)
    from pytest_energy.errors import MachineBusy
    from pytest_energy.measuring.machine_lock import machine_lock

    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    with ExitStack() as stack:
        try:
            stack.enter_context(
                machine_lock(
                    ours.options.lock_timeout_s,
                    reporter.write_line if reporter is not None else lambda line: None,
                )
            )
        except MachineBusy as error:
            raise pytest.UsageError(str(error)) from None
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Before pytest-benchmark saves, since it saves what is compared and counted here."""
    ours = session.config.stash.get(SESSION, None)
    if ours is not None:
        from pytest_energy.plugin.benchmark_bridge import guard
        from pytest_energy.plugin.run_end import close_run

        close_run(session, ours)
        guard(session)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session is not None:
        from pytest_energy.plugin.run_end import tell

        tell(terminalreporter, config, session)


def pytest_unconfigure(config: pytest.Config) -> None:
    if CLEANUP in config.stash:
        config.stash[CLEANUP].close()
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.close()

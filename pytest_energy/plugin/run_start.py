"""The start of a measuring run: the meter, the baseline, the other commit, the machine's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pytest_energy.commits.against import start
from pytest_energy.commits.fresh import fresh_processes
from pytest_energy.commits.starts import shortest_time_s
from pytest_energy.commits.worker_process import CannotCollect
from pytest_energy.errors import MachineBusy, MeterUnavailable, OptionError, RunError
from pytest_energy.machine import usable_cpus
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.measuring.threads import limit_loaded_pools, pool_variables
from pytest_energy.meters import open_meter
from pytest_energy.meters.machine_cpu import open_clocks
from pytest_energy.meters.nothing import NoMeter
from pytest_energy.options import Options
from pytest_energy.plugin import hookspecs
from pytest_energy.plugin.benchmark_bridge import storage_folder
from pytest_energy.plugin.command_line import AGAINST, counts_only
from pytest_energy.plugin.count_run import count_session, require_counting
from pytest_energy.plugin.fixtures import MEASURING_FIXTURES
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.plugin.outcome import ResultKeeper
from pytest_energy.plugin.process_state import preload
from pytest_energy.plugin.progress import Progress
from pytest_energy.plugin.saving import prepare_saving, unfinished_lines
from pytest_energy.plugin.stash import BASELINE, CLEANUP, NOT_COMPARED
from pytest_energy.plugin.sudden_exit import sudden_exit_is_no_pass
from pytest_energy.plugin.ungated import ALLOW, check_baseline
from pytest_energy.plugin.worker_options import this_tree, worker_command_line
from pytest_energy.report.escape import plain
from pytest_energy.report.terminal import header, machine_line, wrapped
from pytest_energy.runs.load import load_runs
from pytest_energy.stats.gps_up import fewest_starts


def open_run(config: pytest.Config, options: Options) -> MeasuringRun:
    """A run with its meter open."""
    if options.count:
        require_counting()
    if counts_only(config):
        preload(config)
        return MeasuringRun(options, NoMeter(), hookspecs.synchronizer(config), counts_only=True)
    try:
        meter = open_meter(options.meter, options.meter_settings)
    except MeterUnavailable as error:
        raise pytest.UsageError(f"--energy-meter {options.meter}: {error}") from None
    except OptionError as error:
        raise pytest.UsageError(str(error)) from None
    open_clocks(meter)
    preload(config)
    if options.threads is not None:
        variables = ExitStack()
        variables.enter_context(pool_variables(options.threads))
        config.add_cleanup(variables.close)
    return MeasuringRun(options, meter, hookspecs.synchronizer(config))


def load_baseline(config: pytest.Config, run: MeasuringRun) -> None:
    """Read the runs of ``--energy-compare`` before any test, so that a wrong path costs no time."""
    path = config.getoption("--energy-compare")
    if path is None:
        return
    try:
        config.stash[BASELINE] = load_runs(
            path or _newest_saved(config), on_skip=_skip_printer(config)
        )
    except RunError as error:
        raise pytest.UsageError(f"--energy-compare: {error}") from None
    check_baseline(config, run)


def header_lines(config: pytest.Config, run: MeasuringRun) -> list[str]:
    """The meter, the machine's load, and interrupted runs, for the top of pytest's output."""
    if run.counts_only:
        return ["energy: counting work only; --energy measures time and joules too"]
    lines = header(run.meter_info)
    lines.append(machine_line(*_cpus_and_load(), run.options.threads))
    shortest_s = shortest_time_s(run.plan.alpha)
    if config.getoption(AGAINST) and run.plan.max_time_s < shortest_s:
        lines.append(
            f"energy: --energy-max-time {run.plan.max_time_s:g} is raised to {shortest_s:.2g}: "
            f"--energy-against needs {fewest_starts(run.plan.alpha)} starts for a verdict"
        )
    lines += unfinished_lines(config)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.isatty():
        width = reporter._tw.fullwidth
        lines = [part for line in lines for part in wrapped(line, width).splitlines()]
    return lines


def _cpus_and_load() -> tuple[int, float | None]:
    """The CPUs that this process may use, and how many programs ran in the last minute."""
    try:
        return usable_cpus(), os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return usable_cpus(), None


def share_suite_alpha(session: pytest.Session, run: MeasuringRun) -> None:
    """Share the run's false alarms among the comparisons that the tests may make."""
    commits = len(session.config.getoption(AGAINST) or [""])
    comparisons = len(_measuring_tests(session)) * commits
    run.plan = run.plan.as_one_of(comparisons, run.options.suite_alpha)


def show_progress(session: pytest.Session, run: MeasuringRun) -> None:
    """Show how far each measurement is: on a terminal, and with ``-v`` in a log."""
    # pytest 8.1 has no such option with -p no:terminal.
    verbosity = getattr(session.config.option, "verbose", 0)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    on_terminal = reporter is not None and bool(reporter.isatty())
    if verbosity < 0 or (verbosity == 0 and not on_terminal):
        return
    run.progress = Progress(session.config, _measuring_tests(session), run.plan.max_time_s)
    session.config.pluginmanager.register(run.progress, "energy-progress")


def _measuring_tests(session: pytest.Session) -> list[str]:
    return [
        item.nodeid
        for item in session.items
        if MEASURING_FIXTURES & set(getattr(item, "fixturenames", ()))
    ]


def start_against(session: pytest.Session, run: MeasuringRun) -> None:
    """Start the workers of ``--energy-against``, if there is something to measure."""
    config = session.config
    revisions = config.getoption(AGAINST)
    if not revisions or not session.items or run.counts_only:
        return
    folder = config.invocation_params.dir.resolve()
    python = config.getoption("--energy-against-python")
    cleanup = config.stash.setdefault(CLEANUP, ExitStack())
    line = worker_command_line(config)
    for revision in dict.fromkeys(revisions):
        try:
            started = start(revision, folder, line, python, config.rootpath)
            run.against += (cleanup.enter_context(started),)
        except CannotCollect as error:
            config.stash[NOT_COMPARED] = str(error)
            if not run.options.allow_ungated:
                raise pytest.UsageError(
                    f"{AGAINST} {revision} would gate nothing: {error}; "
                    f"{ALLOW} measures all the same"
                ) from None
        except OptionError as error:
            raise pytest.UsageError(f"{AGAINST} {revision}: {error}") from None


def prepare_fresh_processes(session: pytest.Session, run: MeasuringRun) -> None:
    """With ``energy_fresh_processes``: where ``energy.versus`` compares. Nothing starts yet."""
    config = session.config
    if run.options.fresh_processes and session.items and not run.counts_only:
        cleanup = config.stash.setdefault(CLEANUP, ExitStack())
        run.fresh = cleanup.enter_context(fresh_processes(this_tree(config)))


def limit_pools(run: MeasuringRun) -> None:
    """With ``energy_threads``: limit the pools of what test modules and fixtures have loaded."""
    if run.options.threads is not None:
        limit_loaded_pools(run.options.threads)


@contextmanager
def exclusive_machine(session: pytest.Session, run: MeasuringRun) -> Iterator[None]:
    """Hold the machine's lock; wait for another measuring run as long as the options allow.

    Work is counted first: the worker would disturb the measurements.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    print_line = reporter.write_line if reporter is not None else lambda line: None
    with ExitStack() as stack:
        try:
            if not run.counts_only:  # no neighbour moves a count
                stack.enter_context(machine_lock(run.options.lock_timeout_s, print_line))
        except MachineBusy as error:
            raise pytest.UsageError(str(error)) from None
        prepare_saving(session.config, run)
        session.config.pluginmanager.register(ResultKeeper(), "energy-results")
        if run.options.count:
            run.counted = count_session(session, run.options, print_line)
        stack.enter_context(sudden_exit_is_no_pass(session.config))
        yield


def _newest_saved(config: pytest.Config) -> str:
    """The newest run with joules in pytest-benchmark's folder."""
    folder = storage_folder(config)
    if folder is None:
        raise pytest.UsageError(
            "--energy-compare: pytest-benchmark has no folder of saved runs here; "
            "name a run with --energy-compare=RUN"
        )
    return load_runs(str(folder), last=1, on_skip=_skip_printer(config))[0].path


def _skip_printer(config: pytest.Config) -> Callable[[str], None]:
    """Prints a line for each broken file among the saved runs."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def print_line(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"--energy-compare: skipped: {plain(line)}")

    return print_line

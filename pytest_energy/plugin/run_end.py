"""What a run that measured leaves behind: its comparison with a saved run, a comment, a page, and its part of the terminal."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from pytest_energy.errors import RunError
from pytest_energy.plugin.recorder import Session
from pytest_energy.plugin.stash import BASELINE, COMPARED, benchmark_session
from pytest_energy.report.terminal import Look, against_lines, summary
from pytest_energy.report.view import RunView
from pytest_energy.runs.compare import compare_results
from pytest_energy.runs.comparison import CompareOptions

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def close_run(session: pytest.Session, ours: Session) -> None:
    """After the last test: take the closing idle windows, compare, and write what was asked for."""
    ours.finish()
    compare_with_baseline(session, ours)
    leave_comment(session, ours)
    leave_page(session, ours)


def compare_with_baseline(session: pytest.Session, ours: Session) -> None:
    """What regressed against the saved run fails this one; what cannot be compared is said."""
    baseline = session.config.stash.get(BASELINE, None)
    if baseline is None:
        return
    options = ours.options
    rules = CompareOptions(
        options.plan.tolerance,
        options.plan.alpha,
        options.gate_estimates,
        options.quality_tolerance,
    )
    try:
        comparison = session.config.stash[COMPARED] = compare_results(baseline, ours.results, rules)
    except RunError as error:
        session.config.stash[COMPARED] = f"NOT GATED against {baseline[-1].path}: {error}"
        return
    if comparison.failure(options.strict) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def run_view(ours: Session) -> RunView:
    """The results as the terminal and the comment show them."""
    return RunView.of_results(ours.results, ours.meter_info, ours.options.plan.tolerance)


def leave_comment(session: pytest.Session, ours: Session) -> None:
    """``--energy-markdown``: about the other commit or, where there is none, the saved run."""
    path = session.config.getoption("--energy-markdown")
    if path is None:
        return
    from pytest_energy.report.markdown import live_markdown, markdown

    compared = session.config.stash.get(COMPARED, None)
    grams = ours.options.grams_per_kwh
    if ours.against is None and compared is not None and not isinstance(compared, str):
        text = markdown(compared, grams)
    else:
        notes = [compared] if isinstance(compared, str) else []
        notes += [
            f"NOT GATED: {name}: not measured, since pytest-benchmark is disabled"
            for name in ours.not_measured
        ]
        notes += against_lines(ours.against) if ours.against is not None else []
        text = live_markdown(run_view(ours), notes, session.testsfailed, grams)
    write_or_say(session, "--energy-markdown", path, text)


def leave_page(session: pytest.Session, ours: Session) -> None:
    """``--energy-report``: this run as a page."""
    path = session.config.getoption("--energy-report")
    if path is None:
        return
    from pytest_benchmark.utils import get_commit_info

    from pytest_energy.machine import fingerprint
    from pytest_energy.report.html import page
    from pytest_energy.runs.json_format import Run

    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_or_say(
        session,
        "--energy-report",
        path,
        page(Run("", fingerprint(), tuple(ours.results), get_commit_info(), at)),
    )


def write_or_say(session: pytest.Session, option: str, path: str, text: str) -> None:
    """The text to a file; where that fails, a line on the terminal and an exit code, and the run itself is kept."""
    try:
        # By the folder that pytest was started in: a test may have gone elsewhere.
        with open(
            session.config.invocation_params.dir / path,
            "w",
            encoding="utf8",
            errors="backslashreplace",
        ) as file:
            file.write(text + "\n")
    except OSError as error:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(
                f"ERROR: {option} {path}: cannot be written: {error.strerror}; name another file"
            )


def tell(terminalreporter: TerminalReporter, config: pytest.Config, session: Session) -> None:
    """The table, and all that was not gated."""
    terminalreporter.ensure_newline()  # else pytest adds it below the section's title
    terminalreporter.section("energy", sep="-")
    writer = terminalreporter._tw
    look = Look(
        writer.fullwidth,
        writer.hasmarkup,
        config.get_verbosity() < 0,
        session.options.grams_per_kwh,
        config.get_verbosity() > 1,
    )
    write_text(terminalreporter, summary(run_view(session), look))
    for name in session.not_measured:
        write_text(
            terminalreporter, f"NOT GATED: {name}: not measured, since pytest-benchmark is disabled"
        )
    if session.against is not None:
        write_text(terminalreporter, "\n".join(against_lines(session.against)))
    hide_own_rows(config, session)
    show_compared(terminalreporter, config, session.options.grams_per_kwh)


def write_text(terminalreporter: TerminalReporter, text: str) -> None:
    """As far as the terminal has its characters, and line by line: pytest escapes what it cannot encode as a whole."""
    from pytest_energy.report.escape import encodable

    terminalreporter.write_line(
        encodable(text, getattr(terminalreporter._tw._file, "encoding", None))
    )


def show_compared(
    terminalreporter: TerminalReporter, config: pytest.Config, grams: float | None
) -> None:
    compared = config.stash.get(COMPARED, None)
    if compared is None:
        return
    from pytest_energy.report.compare_table import terminal_table
    from pytest_energy.report.escape import plain

    terminalreporter.section("energy against saved runs", sep="-")
    colour = terminalreporter._tw.hasmarkup
    write_text(
        terminalreporter,
        plain(compared)
        if isinstance(compared, str)
        else terminal_table(compared, colour, grams, terminalreporter._tw.fullwidth),
    )


def hide_own_rows(config: pytest.Config, session: Session) -> None:
    """pytest-benchmark's table is for its own benchmarks; where all entries are ours it would say all twice."""
    benchmarks = benchmark_session(config)
    if benchmarks is not None and all(
        hasattr(entry, "is_energy_entry") for entry in benchmarks.benchmarks
    ):
        benchmarks.quiet = True

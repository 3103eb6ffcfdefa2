"""The end of a measuring run: `run_ended` completes it, `print_summary` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING

import pytest

from pytest_energy.errors import RunError
from pytest_energy.machine import fingerprint
from pytest_energy.plugin.benchmark_bridge import commit_info, hide_own_table
from pytest_energy.plugin.github import annotation_lines, write_step_summary
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.plugin.process_state import leave_deleted_folder, restore_limits
from pytest_energy.plugin.saving import print_line, save_safely
from pytest_energy.plugin.stash import ANNOTATIONS, BASELINE, COMPARED, UNGATED, VIEW
from pytest_energy.plugin.ungated import ungated_lines
from pytest_energy.report.escape import plain
from pytest_energy.report.terminal import Look, against_lines, summary, wrapped
from pytest_energy.report.view import RunView
from pytest_energy.report.work_lines import work_lines
from pytest_energy.runs.compare import compare_results
from pytest_energy.runs.comparison import CompareOptions, RunComparison
from pytest_energy.runs.json_format import Run

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def run_ended(session: pytest.Session, run: MeasuringRun) -> None:
    """Take the closing idle windows, compare, write the files that the options name, and set the
    exit code. pytest-benchmark saves the run after this."""
    config = session.config
    with one_line_for_a_fault(config, "the last idle windows", session):
        leave_deleted_folder(config)
        restore_limits(config)
        run.finish()
    with one_line_for_a_fault(config, "the comparison and the report", session):
        compare_and_report(session, run)
    save_safely(session)


@contextmanager
def one_line_for_a_fault(
    config: pytest.Config, what: str, session: pytest.Session | None = None
) -> Iterator[None]:
    """A test may have left anything patched: the run is saved all the same, and exits with 4."""
    try:
        yield
    except Exception as error:
        if getattr(config.option, "fulltrace", False):
            raise
        if session is not None:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        print_line(
            config,
            f"ERROR: {what} failed: {type(error).__name__}: {error}; "
            "a test may have left something patched; --full-trace shows where",
        )


def compare_and_report(session: pytest.Session, run: MeasuringRun) -> None:
    """Set the exit code, and write the files that the options name."""
    config = session.config
    compared = compare_with_baseline(config, run)
    if isinstance(compared, RunComparison) and compared.failure(run.options.strict):
        fail_run(session, pytest.ExitCode.TESTS_FAILED)
    ungated = config.stash[UNGATED] = ungated_lines(session, run)
    if ungated and not run.options.allow_ungated:
        fail_run(session, pytest.ExitCode.USAGE_ERROR)
    view = config.stash[VIEW] = run_view(run)

    @cache
    def text() -> str:
        return comment_text(session, run, view, compared)

    comment, page = config.getoption("--energy-markdown"), config.getoption("--energy-report")
    if comment is not None:
        write_file(session, "--energy-markdown", comment, text())
    if page is not None:
        write_file(session, "--energy-report", page, page_text(run))
    write_step_summary(config, text)
    config.stash[ANNOTATIONS] = annotation_lines(session, view)


def print_summary(reporter: TerminalReporter, config: pytest.Config, run: MeasuringRun) -> None:
    """Print the table of the run, what was not gated, and the comparison with saved runs."""
    options = run.options
    writer = reporter._tw
    verbosity = config.get_verbosity()
    look = Look(
        writer.fullwidth,
        writer.hasmarkup,
        verbosity < 0 or run.counts_only,
        options.grams_per_kwh,
        verbosity > 1,
        options.sort,
        verbosity > 0,
    )
    reporter.ensure_newline()  # else pytest adds it below the section's title
    reporter.section("energy", sep="-")
    # Without a view, the end of the run failed: show the results all the same.
    print_text(reporter, summary(config.stash.get(VIEW, None) or run_view(run), look))
    lines = [*work_lines(run.results), *not_gated_lines(run), *config.stash.get(UNGATED, [])]
    for line in lines:
        print_text(reporter, plain(line))
    for line in config.stash.get(ANNOTATIONS, []):
        print_text(reporter, line)
    compared = config.stash.get(COMPARED, None)
    if compared is not None:
        reporter.section("energy against saved runs", sep="-")
        print_text(reporter, compared_text(compared, look))
    hide_own_table(config)


def run_view(run: MeasuringRun) -> RunView:
    """The results as the terminal, the comment and the annotations show them."""
    view = RunView.of_results(run.results, run.meter_info, run.options.plan.tolerance)
    return replace(view, n_tests=len(run.measured_tests))


def compare_with_baseline(config: pytest.Config, run: MeasuringRun) -> RunComparison | str | None:
    """The comparison with the run of ``--energy-compare``, or the reason why there is none."""
    baseline = config.stash.get(BASELINE, None)
    if baseline is None:
        return None
    rules = CompareOptions.of(run.options)
    try:
        config.stash[COMPARED] = compare_results(baseline, run.results, rules)
    except RunError as error:
        config.stash[COMPARED] = f"NOT GATED against {baseline[-1].path}: {error}"
    return config.stash[COMPARED]


def fail_run(session: pytest.Session, code: pytest.ExitCode) -> None:
    """Set the exit code, unless the run failed already."""
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = code


def comment_text(
    session: pytest.Session,
    run: MeasuringRun,
    view: RunView,
    compared: RunComparison | str | None,
) -> str:
    """A comment on the comparison with the saved run, or else on this run and the other commit."""
    from pytest_energy.report.markdown import live_markdown, markdown

    grams = run.options.grams_per_kwh
    if not run.against and isinstance(compared, RunComparison):
        return markdown(compared, grams)
    notes = [compared] if isinstance(compared, str) else []
    notes += [*not_gated_lines(run), *session.config.stash[UNGATED]]
    return live_markdown(view, notes, session.testsfailed, grams)


def page_text(run: MeasuringRun) -> str:
    """This run as an HTML page."""
    from pytest_energy.report.html import page

    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return page(Run("", fingerprint(), tuple(run.results), commit_info(), at))


def write_file(session: pytest.Session, option: str, path: str, text: str) -> None:
    """Write the file. A failure is one line and exit code 4. The run itself is still saved."""
    # Relative to the folder that pytest was started in: a test may have left it.
    file = session.config.invocation_params.dir / path
    try:
        with open(file, "w", encoding="utf8", errors="backslashreplace") as opened:
            opened.write(text + "\n")
    except OSError as error:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(
                f"ERROR: {option} {path}: cannot be written: {error.strerror}; name another file"
            )


def not_gated_lines(run: MeasuringRun) -> list[str]:
    """The tests that pytest-benchmark did not run, and those that another commit lacks."""
    lines = [
        f"NOT GATED: {name}: not measured, since pytest-benchmark is disabled"
        for name in run.disabled_benchmarks
    ]
    return lines + [line for against in run.against for line in against_lines(against)]


def compared_text(compared: RunComparison | str, look: Look) -> str:
    from pytest_energy.report.compare_table import terminal_table

    if isinstance(compared, str):
        return plain(compared)
    return terminal_table(compared, look.colour, look.grams_per_kwh, look.width)


def print_text(reporter: TerminalReporter, text: str) -> None:
    """Print text with the characters that the terminal's encoding has. pytest would escape all.

    On a terminal no word is broken. In a log each line stays whole, so that a search finds it.
    """
    from pytest_energy.report.escape import encodable

    if reporter.isatty():
        text = wrapped(text, reporter._tw.fullwidth)
    reporter.write_line(encodable(text, getattr(reporter._tw._file, "encoding", None)))

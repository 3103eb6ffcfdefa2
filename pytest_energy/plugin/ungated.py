"""Gates that were asked for and gate nothing. docs/gate.md has the table of all ways.

A gate is asked for by a marker with limits, by ``--energy-against`` or by ``--energy-compare``. If
one gates nothing, the run prints why and exits with 4, unless ``--energy-allow-ungated`` is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from pytest_energy.errors import RunsIncomparable
from pytest_energy.gate import Budget, Thresholds
from pytest_energy.model import Result
from pytest_energy.plugin.benchmark_bridge import SKIP, skip_option
from pytest_energy.plugin.command_line import AGAINST
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.plugin.stash import BASELINE, COMPARED, GATE, NOT_COMPARED
from pytest_energy.runs.compare import require_comparable_here

ALLOW = "--energy-allow-ungated"
OF_RATIOS = frozenset({"speedup", "greenup"})
# Qualities are no part of a marker: their floors hold in any run.
OF_MARKERS = OF_RATIOS | {"joules", "watts", "seconds", "gps_up", "work", "instructions"}
MOST_NAMES = 3


def check_baseline(config: pytest.Config, run: MeasuringRun) -> None:
    """Refuse a baseline of another machine, meter or interpreter before anything is measured."""
    baseline = config.stash.get(BASELINE, None)
    if baseline is None or run.options.allow_ungated:
        return
    try:
        require_comparable_here(baseline, run.meter_info, run.options.count)
    except RunsIncomparable as error:
        raise pytest.UsageError(
            f"--energy-compare would gate nothing: {error}; {ALLOW} measures all the same"
        ) from None


def check_skipped(session: pytest.Session, run: MeasuringRun) -> None:
    """Refuse, before anything is measured, an option of pytest-benchmark that skips gates."""
    config = session.config
    every_test = bool(config.getoption(AGAINST)) or BASELINE in config.stash
    skipped = {
        item.nodeid: option
        for item in session.items
        if (option := skip_option(item)) is not None
        and (_asks(item) or (every_test and option == SKIP))
    }
    if skipped and not run.options.allow_ungated:
        options = " and ".join(sorted(set(skipped.values())))
        raise pytest.UsageError(
            f"{options} skips tests with gates: {_names(list(skipped))}; "
            f"run without it, or with {ALLOW}"
        )


def ungated_lines(session: pytest.Session, run: MeasuringRun) -> list[str]:
    """A line for each gate that was asked for and gated nothing."""
    return [
        f"NOTHING GATED by {gate}: {reason}; {ALLOW} accepts this"
        for gate, reason in _ungated(session, run)
    ]


def _ungated(session: pytest.Session, run: MeasuringRun) -> Iterator[tuple[str, str]]:
    options = session.config.option
    listed = options.collectonly, options.showfixtures, options.show_fixtures_per_test
    if any(listed):  # no test is meant to run
        return
    marked = [item for item in session.items if _asks(item)]
    limited = [item.nodeid for item in marked if _has_limit(item)]
    names = limited or [item.nodeid for item in marked]
    # A bare gps_up marker shows ratios without a gate; a floor of the same test is one.
    if names and not _gated(run, OF_MARKERS, names) and (limited or not _has_floor(run, names)):
        yield "markers", f"{_names(names)}: {_reasons(run, names)}"
    if session.config.getoption(AGAINST) and session.items:
        yield from _ungated_commits(session, run)
    compared = session.config.stash.get(COMPARED, None)
    if isinstance(compared, str):
        yield "--energy-compare", compared
    elif compared is not None and set(compared.counts) <= {"not gated"}:
        reasons = {change.verdict.reason for row in compared.rows for change in row.changes}
        yield "--energy-compare", "; ".join(sorted(reasons))


def _ungated_commits(session: pytest.Session, run: MeasuringRun) -> Iterator[tuple[str, str]]:
    """The commits of ``--energy-against`` with which nothing was compared."""
    missing = session.config.stash.get(NOT_COMPARED, None)
    if missing or not (run.against or run.counts_only):
        yield AGAINST, missing or "no worker started"
    # A run that only counts work has no workers to compare with, but baselines.
    labels = ("",) if run.counts_only else tuple(against.label for against in run.against)
    for label in labels:
        if not any(
            verdict.metric in OF_RATIOS | {"work"} and verdict.verdict != "not gated"
            for result in run.results
            if _compared(result, label)
            for verdict in result.verdicts
        ):
            which = f"{AGAINST} {label}" if len(labels) > 1 else AGAINST
            yield which, _reasons(run, [result.name for result in run.results])


def _compared(result: Result, label: str) -> bool:
    """Whether a result has this commit as its baseline."""
    comparison, counted = result.comparison, result.counted
    return (comparison is not None and comparison.baseline_name == label) or (
        counted is not None and counted.baseline is not None
    )


def _asks(item: pytest.Item) -> bool:
    """Whether a marker of the test asks for a gate."""
    gate = item.stash.get(GATE, None)
    return gate is not None and not gate.asks_nothing


def _has_limit(item: pytest.Item) -> bool:
    """Whether the markers of a test that `_asks` give a limit."""
    gate = item.stash[GATE]
    return gate.budget != Budget() or gate.thresholds not in (None, Thresholds())


def _gated(run: MeasuringRun, metrics: frozenset[str], names: Sequence[str]) -> bool:
    """Whether a verdict on one of these metrics passed or failed a test of these names."""
    return any(
        verdict.metric in metrics and verdict.verdict != "not gated"
        for result in _results_of(run, names)
        for verdict in result.verdicts
    )


def _has_floor(run: MeasuringRun, names: Sequence[str]) -> bool:
    """Whether a quality of one of these tests has a limit."""
    return any(quality.limits for result in _results_of(run, names) for quality in result.qualities)


def _results_of(run: MeasuringRun, names: Sequence[str]) -> Iterator[Result]:
    """The results of these tests, and of their phases."""
    known = set(names)
    for result in run.results:
        if result.name in known or result.name.rpartition("::")[0] in known:
            yield result


def _reasons(run: MeasuringRun, names: Sequence[str]) -> str:
    reasons = {
        verdict.reason: None
        for result in _results_of(run, names)
        for verdict in result.verdicts
        if verdict.verdict == "not gated"
    }
    return "; ".join(reasons) or "none of these tests measured anything"


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")

"""What a comparison needs of a saved run: one summary per benchmark, without the windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pytest_energy.errors import RunsIncomparable, RunUnreadable
from pytest_energy.model import NO_METER, CountedWork, MeterInfo, Result
from pytest_energy.runs.json_format import Run

# pytest-benchmark writes this as the commit of a project without a repository.
UNVERSIONED = "unversioned"


@dataclass(frozen=True, slots=True)
class BenchmarkSummary:
    """One benchmark in one run: medians over its windows, per call."""

    log_seconds: float | None
    log_joules: float | None
    """None where the counter did not move in some window."""
    quantisation: float
    """The counter's error as a share of the middle window's joules."""
    qualities: Mapping[str, float]
    work: CountedWork | None = None
    smaller_is_better: frozenset[str] = frozenset()
    """The qualities that have a ceiling and no floor."""


@dataclass(frozen=True)
class RunSummary:
    """One run without its windows."""

    path: str
    machine: Mapping[str, object]
    meter: MeterInfo
    commit: str
    """The commit's id, or "" where the run has none."""
    at: str
    """When the run was saved, ISO 8601."""
    benchmarks: Mapping[str, BenchmarkSummary]
    software: Mapping[str, Any] = field(default_factory=dict)
    """See `software.software`; without keys that the run does not record."""


def meter_identity(meter: MeterInfo) -> tuple[object, ...]:
    """Two meters with equal identities count the same joules."""
    return (
        meter.name,
        meter.provenance,
        tuple(sorted((domain.name, domain.parent or "") for domain in meter.domains)),
    )


def summarize_run(run: Run) -> RunSummary:
    """Summarize every benchmark of the run.

    Raises `RunUnreadable` for a run without benchmarks and for a benchmark that occurs twice.
    Raises `RunsIncomparable` for a run of several meters.
    """
    if not run.results:
        raise RunUnreadable(f"{run.path}: no benchmark of this run has joules")
    first = run.results[0]
    benchmarks: dict[str, BenchmarkSummary] = {}
    for result in run.results:
        if meter_identity(result.measurement.meter) != meter_identity(first.measurement.meter):
            raise RunsIncomparable(
                f"{run.path}: {result.name} and {first.name} were measured by different meters"
            )
        if result.name in benchmarks:
            raise RunUnreadable(f"{run.path}: {result.name} occurs twice")
        benchmarks[result.name] = summarize_result(result)
    return RunSummary(
        run.path,
        run.machine,
        first.measurement.meter,
        _commit_id(run),
        run.at,
        benchmarks,
        run.software,
    )


def summarize_result(result: Result) -> BenchmarkSummary:
    """The medians of one result."""
    meter, windows = result.measurement.meter, result.measurement.windows
    work = result.counted.candidate if result.counted is not None else None
    qualities = {quality.name: quality.value for quality in result.qualities}
    if meter.name == NO_METER:  # its one call is no measurement
        return BenchmarkSummary(None, None, 0.0, qualities, work)
    joules = [meter.total_joules(window.joules) for window in windows]
    by_joules = sorted(range(len(windows)), key=joules.__getitem__)
    middle = windows[by_joules[len(windows) // 2]]
    joules_per_call = [j / window.calls for j, window in zip(joules, windows, strict=True)]
    return BenchmarkSummary(
        _log(median([window.seconds_per_call for window in windows])),
        _log(median(joules_per_call)) if min(joules) > 0 else None,
        meter.quantisation(middle),
        qualities,
        work,
        frozenset(
            quality.name
            for quality in result.qualities
            if quality.ceiling is not None and quality.floor is None
        ),
    )


def _commit_id(run: Run) -> str:
    commit = run.commit.get("id")
    return commit if isinstance(commit, str) and commit != UNVERSIONED else ""


def _log(value: float) -> float | None:
    return math.log(value) if 0 < value < math.inf else None

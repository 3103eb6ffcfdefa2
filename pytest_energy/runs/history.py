"""Saved runs over time: a series per benchmark, and the points where it changed for good.

A series holds runs of one machine and one meter. Apache Otava finds the change points (Fleming et
al., "Hunter", ICPE 2023); the extra ``history`` installs it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pytest_energy.errors import RunError, RunUnreadable, RunWithoutJoules
from pytest_energy.model import CountedWork, MeterInfo
from pytest_energy.plan import WORK_TOLERANCE
from pytest_energy.runs.comparable import by_machine_and_meter
from pytest_energy.runs.json_format import read_run
from pytest_energy.runs.load import run_files
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary, summarize_run
from pytest_energy.runs.work import counting_difference

# Otava's default of 0.001 finds 136 changes in 600 series without one; 1e-5 finds none, and
# no fewer of the real steps: docs/history.md, from studies/history_study.py.
MAX_P_VALUE = 1e-5
# Two builds of the same code differ by up to this share, so smaller steps are not reported.
MIN_CHANGE = 0.02
# Otava's default. It looks at this many runs at a time, so its time grows linearly.
WINDOW_RUNS = 50
# Fewer runs cannot reach MAX_P_VALUE for a step of MIN_CHANGE.
FEWEST_RUNS = 8
METRICS = ("joules", "seconds")


@dataclass(frozen=True, slots=True)
class Sample:
    """One benchmark in one run: medians over its windows, per call."""

    at: str
    commit: str
    path: str
    seconds: float | None
    joules: float | None
    instructions: float | None = None
    """Counted work, if it was counted as in the newest run of the series."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A metric changes at the sample with this index."""

    metric: str
    index: int
    before: float
    """Mean of the samples since the previous change, per call."""
    after: float
    """Mean of the samples up to the next change, per call."""
    p_value: float

    @property
    def ratio(self) -> float:
        """``after`` divided by ``before``: above 1 is worse."""
        return self.after / self.before


@dataclass(frozen=True)
class Series:
    """One benchmark on one machine with one meter, oldest run first."""

    name: str
    samples: tuple[Sample, ...]
    changes: tuple[ChangePoint, ...]


@dataclass(frozen=True)
class Group:
    """The series of one machine and one meter."""

    machine: dict[str, object]
    meter: MeterInfo
    n_runs: int
    series: tuple[Series, ...]


@dataclass(frozen=True)
class History:
    """All groups, the one with the most runs first, and the files that were skipped."""

    groups: tuple[Group, ...]
    broken: tuple[str, ...]
    """One line for each file that is not a run, or not a whole one."""
    without_joules: int
    """How many runs were saved without ``--energy``."""
    no_change_points: str = ""
    """Why no change points were looked for; "" if they were."""


def load_history(
    paths: Iterable[str | Path], last: int | None = None, name_contains: str = ""
) -> History:
    """The history in these files and folders; a folder has the layout of pytest-benchmark.

    ``last`` keeps only the newest runs of each machine and meter; ``name_contains`` only the
    benchmarks with this text in their names. Without Otava there are no change points. Raises
    `RunUnreadable` if there is no run.
    """
    paths = list(paths)
    runs, broken, without_joules = _read(file for file, _ in run_files(paths))
    if not runs:
        raise RunUnreadable(_no_runs(paths, broken, without_joules))
    history = history_of(runs, last, name_contains)
    return replace(history, broken=tuple(broken), without_joules=without_joules)


def history_of(
    runs: Iterable[RunSummary], last: int | None = None, name_contains: str = ""
) -> History:
    """As `load_history`, of runs that were read already."""
    find, no_change_points = _change_finder()
    groups = [
        _group(same[-last:] if last else same, name_contains, find)
        for same in by_machine_and_meter(runs)
    ]
    groups.sort(key=lambda group: -group.n_runs)
    return History(tuple(groups), (), 0, no_change_points)


def _no_runs(paths: Sequence[str | Path], broken: Sequence[str], without_joules: int) -> str:
    reasons = [*broken, *([f"{without_joules} saved without --energy"] if without_joules else [])]
    return (
        f"no saved runs with joules in {', '.join(map(str, paths))}"
        f"{': ' if reasons else ''}{'; '.join(reasons)}; "
        "save one with pytest --energy --benchmark-autosave"
    )


def _read(files: Iterable[Path]) -> tuple[list[RunSummary], list[str], int]:
    runs, broken, without_joules = [], [], 0
    for file in files:
        try:
            runs.append(summarize_run(read_run(file)))
        except RunWithoutJoules:
            without_joules += 1
        except RunError as error:
            broken.append(str(error))
    return runs, broken, without_joules


def _group(runs: Sequence[RunSummary], name_contains: str, find: _ChangeFinder | None) -> Group:
    samples: dict[str, list[Sample]] = {}
    newest_work = {
        name: benchmark.work
        for run in runs
        for name, benchmark in run.benchmarks.items()
        if benchmark.work is not None
    }
    for run in runs:
        for name, benchmark in run.benchmarks.items():
            if name_contains in name:
                sample = _sample(run, benchmark, newest_work.get(name))
                samples.setdefault(name, []).append(sample)
    series = tuple(
        Series(
            name,
            tuple(found),
            (*(() if find is None else _changes(found, find)), *_work_changes(found)),
        )
        for name, found in samples.items()
    )
    return Group(dict(runs[0].machine), runs[0].meter, len(runs), series)


def _sample(
    run: RunSummary, benchmark: BenchmarkSummary, newest_work: CountedWork | None
) -> Sample:
    seconds, joules = (
        None if log is None else math.exp(log)
        for log in (benchmark.log_seconds, benchmark.log_joules)
    )
    work = benchmark.work
    if work is None or newest_work is None or counting_difference(work, newest_work):
        return Sample(run.at, run.commit, run.path, seconds, joules)
    return Sample(run.at, run.commit, run.path, seconds, joules, float(work.instructions))


def _changes(samples: Sequence[Sample], find: _ChangeFinder) -> Iterable[ChangePoint]:
    for metric in METRICS:
        # A run without a figure for this metric is not part of its series.
        known = [
            (index, value)
            for index, sample in enumerate(samples)
            if (value := getattr(sample, metric)) is not None
        ]
        if len(known) < FEWEST_RUNS:
            continue
        for at, before, after, p_value in find([value for _, value in known]):
            yield ChangePoint(metric, known[at][0], before, after, p_value)


def _work_changes(samples: Sequence[Sample]) -> Iterable[ChangePoint]:
    """Each step of counted work beyond the tolerance: counts do not drift, so two runs show it."""
    known = [
        (index, sample.instructions)
        for index, sample in enumerate(samples)
        if sample.instructions is not None
    ]
    for (_, before), (index, after) in pairwise(known):
        if abs(math.log(after / before)) > math.log1p(WORK_TOLERANCE):
            yield ChangePoint("instructions", index, before, after, 0.0)


class _ChangeFinder:
    """Otava's analysis of one series of numbers."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Importing its dependencies prints warnings about each other.
            warnings.simplefilter("ignore")
            from otava.analysis import compute_change_points

        self._compute = compute_change_points

    def __call__(self, values: Sequence[float]) -> list[tuple[int, float, float, float]]:
        with warnings.catch_warnings():
            # A t-test of equal samples divides by zero.
            warnings.simplefilter("ignore", RuntimeWarning)
            found, _ = self._compute(
                list(values),
                window_len=WINDOW_RUNS,
                max_pvalue=MAX_P_VALUE,
                min_magnitude=MIN_CHANGE,
            )
        return [
            (
                int(point.index),
                float(point.stats.mean_1),
                float(point.stats.mean_2),
                float(point.stats.pvalue),
            )
            for point in found
        ]


def _change_finder() -> tuple[_ChangeFinder | None, str]:
    """The finder, or None and the reason."""
    try:
        return _ChangeFinder(), ""
    except ImportError as error:
        return None, (
            f"change points require Apache Otava ({error.name} is missing); install it with "
            'pip install "pytest-energy[history]"'
        )

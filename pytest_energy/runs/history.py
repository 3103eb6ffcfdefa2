"""Many saved runs over time: a series for each benchmark, and where it changed for good.

Runs of another machine, meter or provenance are never put into one series. Change points are found by
Apache Otava (Fleming et al., "Hunter", ICPE 2023), which the extra ``history`` installs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_energy.errors import OptionError, RunError, RunUnreadable, RunWithoutJoules
from pytest_energy.model import MeterInfo
from pytest_energy.runs.json_format import read_run
from pytest_energy.runs.load import SavedRun, boil_down, by_machine_and_meter, run_files

# Otava's own default of 0.001 found 136 changes in 600 series of 300 runs with none in them, 1e-5 none; a step of 5 % at a spread
# of 2 % was found within two runs 581 and 585 times in 600 (studies/history_study.py).
MAX_P_VALUE = 1e-5
# Smaller steps are not reported, however certain: two builds of the same code differ by so much.
MIN_CHANGE = 0.02
WINDOW_RUNS = 50  # Otava's default: it looks at so many runs at a time, so its time grows linearly
FEWEST_RUNS = 8  # fewer cannot reach MAX_P_VALUE against a step of MIN_CHANGE
METRICS = ("joules", "seconds")


@dataclass(frozen=True, slots=True)
class Sample:
    """One benchmark in one run: medians over its windows, per call."""

    at: str
    commit: str
    path: str
    seconds: float | None
    joules: float | None


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """From the sample of this index on, a metric is another one than before."""

    metric: str
    index: int
    before: float
    """Mean of the samples since the change before it, per call."""
    after: float
    p_value: float

    @property
    def ratio(self) -> float:
        """After over before: above 1 is worse."""
        return self.after / self.before


@dataclass(frozen=True)
class Series:
    """One benchmark on one machine with one meter, oldest run first."""

    name: str
    samples: tuple[Sample, ...]
    changes: tuple[ChangePoint, ...]


@dataclass(frozen=True)
class Group:
    """The series that may be put side by side: of one machine and one meter."""

    machine: dict[str, object]
    meter: MeterInfo
    n_runs: int
    series: tuple[Series, ...]


@dataclass(frozen=True)
class History:
    """All groups, the one with the most runs first, and what could not be read."""

    groups: tuple[Group, ...]
    broken: tuple[str, ...]
    """One line for each file that was passed over because it is not a run, or not whole."""
    without_joules: int
    """Runs of pytest-benchmark's that were saved without ``--energy``."""


def load_history(paths: Iterable[str | Path], last: int | None = None, wanted: str = "") -> History:
    """The history in these files and folders (searched two levels deep, as pytest-benchmark lays them out).

    ``last``: only the newest so many runs of each machine and meter; ``wanted``: only benchmarks with this text in their
    names. Raises `RunUnreadable` where there is not one run, `OptionError` without Otava.
    """
    paths = list(paths)
    runs, broken, without = _read(file for file, _ in run_files(paths))
    if not runs:
        where = ", ".join(map(str, paths))
        why = [*broken, *([f"{without} saved without --energy"] if without else [])]
        raise RunUnreadable(
            f"no saved runs with joules in {where}{': ' if why else ''}{'; '.join(why)}; save one with pytest --energy --benchmark-autosave"
        )
    find = _change_finder()
    groups = [
        _group(same[-last:] if last else same, wanted, find) for same in by_machine_and_meter(runs)
    ]
    return History(tuple(sorted(groups, key=lambda group: -group.n_runs)), tuple(broken), without)


def _read(files: Iterable[Path]) -> tuple[list[SavedRun], list[str], int]:
    runs, broken, without = [], [], 0
    for file in files:
        try:
            runs.append(boil_down(read_run(file)))
        except RunWithoutJoules:
            without += 1
        except RunError as error:
            broken.append(str(error))
    return runs, broken, without


def _group(runs: Sequence[SavedRun], wanted: str, find: _Finder) -> Group:
    samples: dict[str, list[Sample]] = {}
    for run in runs:
        for name, point in run.points.items():
            if wanted in name:
                seconds, joules = (
                    None if log is None else math.exp(log)
                    for log in (point.log_seconds, point.log_joules)
                )
                samples.setdefault(name, []).append(
                    Sample(run.at, run.commit, run.path, seconds, joules)
                )
    series = tuple(
        Series(name, tuple(found), tuple(_changes(found, find))) for name, found in samples.items()
    )
    return Group(dict(runs[0].machine), runs[0].meter, len(runs), series)


def _changes(samples: Sequence[Sample], find: _Finder) -> Iterable[ChangePoint]:
    for metric in METRICS:
        # A run in which the counter could not tell is left out of this metric's series, not guessed.
        known = [
            (index, value)
            for index, sample in enumerate(samples)
            if (value := getattr(sample, metric)) is not None
        ]
        if len(known) < FEWEST_RUNS:
            continue
        for at, before, after, p_value in find([value for _, value in known]):
            yield ChangePoint(metric, known[at][0], before, after, p_value)


class _Finder:
    """Otava's, given the numbers alone."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Its dependencies warn of one another when they are imported; nothing of that is the user's to mend.
            warnings.simplefilter("ignore")
            from otava.analysis import compute_change_points

        self._compute = compute_change_points

    def __call__(self, values: Sequence[float]) -> list[tuple[int, float, float, float]]:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # a t-test of samples that are all equal divides by zero
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


def _change_finder() -> _Finder:
    try:
        return _Finder()
    except ImportError as error:
        raise OptionError(
            f'history needs Apache Otava ({error.name} is missing): pip install "pytest-energy[history]"'
        ) from None

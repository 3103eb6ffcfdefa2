"""Saved runs boiled down to what a comparison needs of them: one point a benchmark. Files, folders, the newest N."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_energy.errors import RunsIncomparable, RunUnreadable, RunWithoutJoules
from pytest_energy.model import MeterInfo, Result
from pytest_energy.runs.json_format import Run, read_run
from pytest_energy.stats.order_statistics import median

# Older ones than these say more of how the machine was than of how it is.
DEFAULT_LAST = 10
# What pytest-benchmark writes for the commit where there is no repository.
UNVERSIONED = "unversioned"


@dataclass(frozen=True, slots=True)
class Point:
    """What one run says of one benchmark. Medians over the windows, per call."""

    log_seconds: float | None
    log_joules: float | None
    """None where the counter did not move in some window."""
    quantisation: float
    """The counter's own error, as a part of the middle window's energy."""
    qualities: Mapping[str, float]


@dataclass(frozen=True)
class SavedRun:
    """One run, without its windows."""

    path: str
    machine: Mapping[str, object]
    meter: MeterInfo
    commit: str
    """The commit's id, or "" where none was saved."""
    at: str
    points: Mapping[str, Point]


def load_runs(path: str | Path, last: int = DEFAULT_LAST) -> tuple[SavedRun, ...]:
    """The run in a file, or the newest ``last`` runs in a folder, oldest first.

    A folder is one of pytest-benchmark's: runs lie in it or one level further down. Runs there that were saved
    without ``--energy`` are passed over. Raises `RunUnreadable` for anything else, and where there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return (boil_down(read_run(path)),)
    files = sorted([*path.glob("*.json"), *path.glob("*/*.json")])
    numbers = [_number(file) for file in files]
    runs: list[SavedRun] = []
    if None not in numbers and len({file.parent for file in files}) == 1:
        # pytest-benchmark numbers the runs of a folder, so only the newest have to be read.
        for _, file in sorted(zip(numbers, files), reverse=True):
            runs += _with_joules(file)
            if len(runs) == last:
                break
        runs.reverse()
    else:
        runs = sorted(
            (run for file in files for run in _with_joules(file)),
            key=lambda run: (run.at, run.path),
        )[-last:]
    if not runs:
        what = (
            f"{len(files)} runs, but all were saved without --energy"
            if files
            else "no saved runs (*.json)"
        )
        raise RunUnreadable(f"{path}: {what}; save one with pytest --energy --benchmark-autosave")
    return tuple(runs)


def run_files(paths: Iterable[str | Path]) -> list[tuple[Path, bool]]:
    """Each file once, and whether it was named itself; of a folder its runs, also one level further down.

    Raises `RunUnreadable` for what is not there.
    """
    found: dict[Path, bool] = {}
    for path in map(Path, paths):
        if path.is_dir():
            for file in sorted([*path.glob("*.json"), *path.glob("*/*.json")]):
                found.setdefault(file, False)
        elif path.exists():
            found[path] = True
        else:
            raise RunUnreadable(f"{path}: no such file or folder")
    return list(found.items())


def boil_down(run: Run) -> SavedRun:
    """One point a benchmark. Raises `RunUnreadable` for a run with no benchmarks, `RunsIncomparable` for mixed meters."""
    if not run.results:
        raise RunUnreadable(f"{run.path}: an empty run: no benchmark in it has joules")
    points: dict[str, Point] = {}
    meter = run.results[0].measurement.meter
    for result in run.results:
        if identity(result.measurement.meter) != identity(meter):
            raise RunsIncomparable(
                f"{run.path}: {result.name} was measured by another meter than {run.results[0].name}"
            )
        if result.name in points:
            raise RunUnreadable(f"{run.path}: {result.name} is in it twice")
        points[result.name] = point(result)
    commit = run.commit.get("id")
    if not isinstance(commit, str) or commit == UNVERSIONED:
        commit = ""
    return SavedRun(run.path, run.machine, meter, commit, run.at, points)


def point(result: Result) -> Point:
    """What one result says."""
    meter, windows = result.measurement.meter, result.measurement.windows
    joules = [meter.total_joules(window.joules) for window in windows]
    middle = windows[sorted(range(len(windows)), key=joules.__getitem__)[len(windows) // 2]]
    return Point(
        _log(median([window.seconds_per_call for window in windows])),
        _log(median([j / window.calls for j, window in zip(joules, windows)]))
        if min(joules) > 0
        else None,
        meter.quantisation(middle),
        {quality.name: quality.value for quality in result.qualities},
    )


def identity(meter: MeterInfo) -> tuple[object, ...]:
    """What has to be equal for two meters' joules to mean the same."""
    return (
        meter.name,
        meter.provenance,
        tuple(sorted((domain.name, domain.parent or "") for domain in meter.domains)),
    )


def by_machine_and_meter(runs: Iterable[SavedRun]) -> list[list[SavedRun]]:
    """The runs that may be put side by side, oldest first; each machine and meter by itself."""
    apart: dict[object, list[SavedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.at, run.path)):
        machine = tuple(sorted((key, str(value)) for key, value in run.machine.items()))
        apart.setdefault((identity(run.meter), machine), []).append(run)
    return list(apart.values())


def refuse_incomparable(runs: Iterable[SavedRun]) -> None:
    """Raises `RunsIncomparable`, showing the difference, where these are not all of one machine and one meter."""
    first, *others = runs
    for other in others:
        differences = [
            f"{key}: {_shown(first.machine, key)} / {_shown(other.machine, key)}"
            for key in sorted({*first.machine, *other.machine})
            if first.machine.get(key) != other.machine.get(key)
        ]
        if differences:
            raise RunsIncomparable(
                f"another machine: {first.path} / {other.path}: {'; '.join(differences)}"
            )
        ours, theirs = identity(first.meter), identity(other.meter)
        if ours != theirs:
            raise RunsIncomparable(
                f"another meter: {first.path} / {other.path}: {_meter_shown(first.meter)} / {_meter_shown(other.meter)}"
            )


def _with_joules(file: Path) -> list[SavedRun]:
    try:
        return [boil_down(read_run(file))]
    except RunWithoutJoules:
        return []


def _number(file: Path) -> int | None:
    number = re.match(r"(\d{4,})_", file.name)
    return int(number[1]) if number else None


def _log(value: float) -> float | None:
    return math.log(value) if 0 < value < math.inf else None


def _shown(machine: Mapping[str, object], key: str) -> str:
    return str(machine[key]) if key in machine else "not recorded"


def _meter_shown(meter: MeterInfo) -> str:
    return f"{meter.name}, {meter.provenance}, counting {', '.join(domain.name for domain in meter.domains)}"

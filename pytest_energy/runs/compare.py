"""Compare saved runs. One run is one observation: its windows share the state of the machine.

Metrics are OLD / NEW as in a live comparison: speedup of seconds, greenup of joules, each over the
medians of the runs. `gate.against_tolerance` gives the verdict; `stats/unpaired.py` the intervals.

- From 3 runs a side and 10 benchmarks on, the suite shows how runs spread (`stats/moderated.py`).
  With less, no change below the machine's noise (`noise.py`) counts as regressed.
- A benchmark regressed only if it also stands out among all ratios of the suite: at most 5 % of
  those that are called are chance (Benjamini and Hochberg), or any at all at 5 % (Holm), as asked.
- `Change.advice` names the number of runs, or the live command, that settles an inconclusive ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_energy.errors import RunsIncomparable
from pytest_energy.machine import fingerprint
from pytest_energy.model import NO_METER, MeterInfo, Result, Verdict
from pytest_energy.runs.comparable import require_comparable, require_same_software
from pytest_energy.runs.comparison import BenchmarkChanges, Change, CompareOptions, RunComparison
from pytest_energy.runs.json_format import Run
from pytest_energy.runs.load import load_runs
from pytest_energy.runs.noise import Noise, load_noise
from pytest_energy.runs.quality import quality_changes
from pytest_energy.runs.ratios import RatioComparison
from pytest_energy.runs.software import software
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary, summarize_run
from pytest_energy.runs.work import counted_work, require_same_counting, work_changes


def compare_runs(
    old: Sequence[RunSummary], new: Sequence[RunSummary], options: CompareOptions, noise: Noise
) -> RunComparison:
    """The greenup, speedup and qualities of each benchmark, OLD against NEW, with verdicts.

    Runs of different machines or meters are compared by their counted work. Raises
    `RunsIncomparable` where that cannot be, and if no benchmark is on both sides.
    """
    counted_only = _why_counted_only(old, new, options)
    before, after = _by_name(old), _by_name(new)
    shared = [name for name in after if name in before]
    if not shared:
        raise RunsIncomparable(
            f"nothing to compare: none of the {len(after)} benchmarks of {_where(new)} "
            f"is among the {len(before)} of {_where(old)}"
        )
    ratios = RatioComparison(old, new, options, noise)
    for name in shared if not counted_only else ():
        ratios.add(name, before[name], after[name])
    changes = ratios.changes()
    identical = _identical(old, new)
    rows = []
    for name in shared:
        found = (
            *changes.get(name, ()),
            *(work_changes(before[name], after[name], options) or _not_counted(counted_only)),
            *quality_changes(before[name], after[name], options),
        )
        rows.append(BenchmarkChanges(name, tuple(map(_unchanged, found)) if identical else found))
    rows += [
        _only_on_one_side(name, 0, len(runs), "not in the baseline")
        for name, runs in after.items()
        if name not in before
    ]
    rows += [
        _only_on_one_side(name, len(runs), 0, "in the baseline, but not in the new run")
        for name, runs in before.items()
        if name not in after
    ]
    rows.sort(key=lambda row: (row.severity, row.name))
    return RunComparison(
        tuple(old),
        tuple(new),
        tuple(rows),
        options,
        noise,
        ratios.gated,
        identical,
        ratios.suite_spreads,
        counted_only,
    )


def compare_saved(
    old: str | Path,
    new: str | Path,
    last: int,
    options: CompareOptions,
    on_skip: Callable[[str], object],
) -> RunComparison:
    """Compare two files, or the newest ``last`` runs of two folders.

    ``on_skip`` gets a line for each broken file of a folder. Raises `RunError`, as `compare_runs`
    does, and for files that are not runs.
    """
    before, after = load_runs(old, last, on_skip), load_runs(new, last, on_skip)
    return compare_runs(before, after, options, load_noise(after[0].machine, after[0].meter.name))


def compare_results(
    old: Sequence[RunSummary], results: Sequence[Result], options: CompareOptions
) -> RunComparison:
    """Compare the results of this machine's present run with saved runs. Raises `RunError`."""
    machine = fingerprint()
    new = summarize_run(Run("this run", machine, tuple(results), {}, "", software()))
    return compare_runs(old, (new,), options, load_noise(machine, new.meter.name))


def require_comparable_here(
    old: Sequence[RunSummary], meter: MeterInfo, counts: bool = False
) -> None:
    """Raises `RunsIncomparable` if a run of this machine, meter and interpreter cannot be compared.

    For use before measuring: what the tests import is not known then. ``counts``: the run counts
    work, which compares across machines.
    """
    here = RunSummary("this run", fingerprint(), meter, "", "", {}, software())
    if counts and all(counted_work(run.benchmarks) for run in old):
        require_same_software([*old, here])
    else:
        require_comparable([*old, here])


def _why_counted_only(
    old: Sequence[RunSummary], new: Sequence[RunSummary], options: CompareOptions
) -> str:
    """Why only counted work can be compared; "" where time and energy can be, too."""
    runs = [*old, *new]
    counted = all(counted_work(run.benchmarks) for run in runs)
    if counted and any(run.meter.name == NO_METER for run in runs):
        require_same_counting(runs, options.across_software)
        return "a side has counted work only"
    try:
        require_comparable(runs, options.across_software)
    except RunsIncomparable as error:
        if not counted:
            raise
        require_same_counting(runs, options.across_software)
        return str(error)
    return ""


def _not_counted(counted_only: str) -> tuple[Change, ...]:
    """Of a benchmark that only its counted work could compare, and that has none."""
    if not counted_only:
        return ()
    verdict = Verdict("work", "not gated", "not counted on both sides")
    return (Change("work", " instructions", None, None, None, 0, 0, verdict),)


def _by_name(runs: Sequence[RunSummary]) -> dict[str, list[BenchmarkSummary]]:
    found: dict[str, list[BenchmarkSummary]] = {}
    for run in runs:
        for name, benchmark in run.benchmarks.items():
            found.setdefault(name, []).append(benchmark)
    return found


def _where(runs: Sequence[RunSummary]) -> str:
    return runs[0].path if len(runs) == 1 else f"{runs[0].path} and {len(runs) - 1} more"


def _identical(old: Sequence[RunSummary], new: Sequence[RunSummary]) -> bool:
    """Whether both sides are the same saved data, as when a file is compared with itself."""
    return [(run.at, run.benchmarks) for run in old] == [(run.at, run.benchmarks) for run in new]


def _unchanged(change: Change) -> Change:
    """Of the same data, no statistics are needed. What is not gated stays so."""
    if change.verdict.verdict == "not gated":
        return change
    return replace(
        change, verdict=Verdict(change.metric, "unchanged", "OLD and NEW are identical"), advice=""
    )


def _only_on_one_side(name: str, old_runs: int, new_runs: int, reason: str) -> BenchmarkChanges:
    verdict = Verdict("benchmark", "not gated", reason)
    change = Change("benchmark", "", None, None, None, old_runs, new_runs, verdict)
    return BenchmarkChanges(name, (change,))

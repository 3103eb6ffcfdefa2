"""Counted work in saved runs, compared: counts do not drift, so one run a side is enough, also of
another machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_energy.errors import RunsIncomparable
from pytest_energy.model import CountedWork, Verdict
from pytest_energy.runs.comparable import require_same_software
from pytest_energy.runs.comparison import Change, CompareOptions
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary
from pytest_energy.verdicts import work_ratio, work_verdict


def work_changes(
    old: Sequence[BenchmarkSummary], new: Sequence[BenchmarkSummary], options: CompareOptions
) -> tuple[Change, ...]:
    """The change of counted work, if both sides were counted; else nothing.

    The least of several runs stands for its side: work that is not the code's only adds to it.
    """
    before, after = ([run.work for run in side if run.work is not None] for side in (old, new))
    if not before or not after:
        return ()
    baseline, candidate = (
        min(side, key=lambda work: work.instructions) for side in (before, after)
    )
    ratio = None
    difference = counting_difference(baseline, candidate)
    if difference:
        verdict = Verdict("work", "not gated", f"not counted alike: {difference}")
    else:
        ratio = work_ratio(baseline, candidate)
        verdict = work_verdict(baseline, candidate, options.work_tolerance)
    return (
        Change(
            "work",
            " instructions",  # behind a prefix: 12.3 M instructions
            float(baseline.instructions),
            float(candidate.instructions),
            ratio,
            len(before),
            len(after),
            verdict,
        ),
    )


def counting_difference(old: CountedWork, new: CountedWork) -> str:
    """How the two were counted differently, or ""."""
    pairs = [("tool", old.tool, new.tool)]
    pairs += [
        (name, old.conditions.get(name, "not recorded"), new.conditions.get(name, "not recorded"))
        for name in sorted({*old.conditions, *new.conditions})
    ]
    return "; ".join(f"{name}: {ours} / {theirs}" for name, ours, theirs in pairs if ours != theirs)


def require_same_counting(runs: Iterable[RunSummary], across_software: bool) -> None:
    """Raises `RunsIncomparable` unless the counted work of these runs can be compared: the tool,
    the simulated cache, the instruction set, the interpreter and the libraries agree.

    The machine need not be the same.
    """
    runs = list(runs)
    if not across_software:
        require_same_software(runs)
    counted = [(run, works[0]) for run in runs if (works := counted_work(run.benchmarks))]
    for other, work in counted[1:]:
        first, first_work = counted[0]
        if difference := counting_difference(first_work, work):
            raise RunsIncomparable(
                f"counted work of {first.path} / {other.path} is not comparable: {difference}"
            )


def counted_work(benchmarks: Mapping[str, BenchmarkSummary]) -> list[CountedWork]:
    """The counted work of those benchmarks that have any."""
    return [benchmark.work for benchmark in benchmarks.values() if benchmark.work is not None]

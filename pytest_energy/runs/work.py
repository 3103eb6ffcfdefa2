"""Counted work in saved runs, compared: counts do not drift, so one run a side is enough."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_energy.gate import against_tolerance, work_ratio
from pytest_energy.model import CountedWork, Verdict
from pytest_energy.runs.comparison import Change, CompareOptions
from pytest_energy.runs.summary import BenchmarkSummary

MOST_GROWN = 3


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
    if baseline.tool != candidate.tool:
        reason = f"{baseline.tool} and {candidate.tool} do not count alike"
        verdict = Verdict("work", "not gated", reason)
    else:
        ratio = work_ratio(baseline, candidate)
        verdict = against_tolerance("work", ratio, options.work_tolerance, candidate.tool)
        if verdict.verdict == "regressed":
            verdict = Verdict("work", "regressed", f"{verdict.reason}{_grown(baseline, candidate)}")
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


def _grown(old: CountedWork, new: CountedWork) -> str:
    """The functions that grew most, as text: Python's by bytecodes, C's by instructions."""
    parts = []
    for unit, before, after in (
        ("bytecodes", old.bytecodes, new.bytecodes),
        ("instructions", old.functions, new.functions),
    ):
        grown = sorted(
            (
                (count - before.get(name, 0), name)
                for name, count in after.items()
                if count > before.get(name, 0)
            ),
            reverse=True,
        )
        if grown:
            names = ", ".join(f"{name} +{count:,}" for count, name in grown[:MOST_GROWN])
            parts.append(f"{unit} grew: {names}")
    return "".join(f"; {part}" for part in parts)

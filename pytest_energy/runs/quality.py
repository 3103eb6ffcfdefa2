"""Qualities, such as accuracy, in two sets of saved runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from pytest_energy.model import Verdict
from pytest_energy.runs.comparison import Change, CompareOptions
from pytest_energy.runs.summary import BenchmarkSummary

# An accuracy without a stated tolerance is taken as a share of this many cases: a small test set.
# Losing k cases and winning none has a chance of 2**-k by the sign test. At 1 % that is 7 cases, so
# 6 of 375 may be lost: 1.6 points.
QUALITY_CASES = 375


def quality_changes(
    old: Sequence[BenchmarkSummary], new: Sequence[BenchmarkSummary], options: CompareOptions
) -> Iterator[Change]:
    """One change for each quality that either side has."""
    names = dict.fromkeys(
        name for runs in (new, old) for benchmark in runs for name in benchmark.qualities
    )
    for name in names:
        before, after = _values(old, name), _values(new, name)
        falling = any(name in benchmark.smaller_is_better for benchmark in (*new, *old))
        verdict = _verdict(name, before, after, options, falling)
        yield Change(
            name, "", _median(before), _median(after), None, len(before), len(after), verdict
        )


def _values(runs: Sequence[BenchmarkSummary], name: str) -> list[float]:
    return [benchmark.qualities[name] for benchmark in runs if name in benchmark.qualities]


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values and not any(map(math.isnan, values)) else None


def _verdict(
    name: str, old: Sequence[float], new: Sequence[float], options: CompareOptions, falling: bool
) -> Verdict:
    if not old or not new:
        side = "new run" if old else "baseline"
        return Verdict(name, "not gated", f"{name} is missing in the {side}")
    if any(map(math.isnan, old)):
        return Verdict(name, "not gated", f"{name} is not a number in the baseline")
    if any(map(math.isnan, new)):
        return Verdict(name, "regressed", f"{name} is not a number in the new run")
    tolerance, source = options.quality_tolerance, "as asked"
    if tolerance is None:
        if not all(0 <= value <= 1 for value in (*old, *new)):
            reason = (
                f"{name} is not a share from 0 to 1, so its sampling noise is unknown; "
                "set --quality-tolerance"
            )
            return Verdict(name, "not gated", reason)
        tolerance, source = _default_tolerance(options.alpha)
    return _within(name, old, new, tolerance, source, falling)


def _default_tolerance(alpha: float) -> tuple[float, str]:
    """The share of cases that chance may lose, and a text that explains it."""
    lost = math.ceil(-math.log2(alpha)) - 1
    source = (
        f"chance explains {lost} of {QUALITY_CASES} cases; set --quality-tolerance to change it"
    )
    return lost / QUALITY_CASES, source


def _within(
    name: str,
    old: Sequence[float],
    new: Sequence[float],
    tolerance: float,
    source: str,
    falling: bool,
) -> Verdict:
    before, after = median(old), median(new)
    text = f"{name} {before:.4g} → {after:.4g} at a tolerance of {tolerance:.2g} ({source})"
    # 0.85 - 0.84 is 0.010000000000000009.
    if abs(after - before) <= tolerance * (1 + 1e-9):
        return Verdict(name, "unchanged", text)
    if (after < before) if falling else (after > before):
        return Verdict(name, "improved", text)
    if (after <= max(old)) if falling else (after >= min(old)):
        way, worst = ("up", max(old)) if falling else ("down", min(old))
        reason = f"{text}: the baseline's own runs go {way} to {worst:.4g}"
        return Verdict(name, "inconclusive", reason)
    return Verdict(name, "regressed", text)

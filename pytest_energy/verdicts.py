"""A number and its limit -> a verdict with its reason. The rules that `gate.Gate` puts together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_energy.model import (
    Block,
    Comparison,
    CountedWork,
    Interval,
    Measurement,
    Provenance,
    Quality,
    Result,
    Verdict,
)
from pytest_energy.stats.gps_up import starts_of
from pytest_energy.stats.others import share_of_others
from pytest_energy.stats.per_call import idle_share
from pytest_energy.stats.si_prefixes import scale_for

NOT_GATED_ESTIMATE = (
    "joules are estimated from CPU seconds here and add nothing to the timings; "
    "energy_gate_estimates = true gates them anyway"
)
NOT_GATED_ATTRIBUTED = (
    "joules are attributed here: a share, by CPU time, of what another machine's sensor counted; "
    "energy_gate_estimates = true gates them, energy_trust_sensor = true calls them measured"
)
# Between the unit and the functions that a verdict names.
GREW = " grew: "
# The functions that a verdict names.
MOST_GROWN = 3
# Code whose windows differ like this waits for others, such as for a CPU for one of its threads.
# Beside two busy programs on two CPUs, the example of docs/your-model.md came out 1589 [886, 1996]
# times as fast, and not 2.5 times: windows, or the interval, spanned more than these.
UNSTABLE_SPREAD, UNSTABLE_INTERVAL = 10.0, 2.0
# Threads of a pool that wait this share of their time: beside busy programs 82 to 92 % in that
# example.
UNSTABLE_WAITING = 0.1
# Beside neighbours of 60 W, and beside a package's own idle power, +5 % of the code's own joules
# came out unchanged at 3 % in 58 of 60. With two thirds of the joules its own, +5 % is +3.3 % of
# the sum.
LARGEST_SHARE_OF_OTHERS = 1 / 3
# In the reason of a verdict on a ratio with a threshold of its own.
ASKED_RATIO = "asked at least"
SI_UNITS = ("s", "J", "W")
# A limit is given in the unit of the value beside it where it reads well there: as a number above
# the first and below the second.
LIMIT_READS_WELL = 1e-3, 1e4
# What a person calls the quantity behind a metric.
QUANTITIES = {
    "speedup": "time",
    "seconds": "time",
    "greenup": "energy",
    "joules": "energy",
    "watts": "power",
    "instructions": "counted work",
}


def joules_not_gated(provenance: Provenance, gate_estimates: bool) -> str | None:
    """The reason why joules of this provenance must not decide, or None if they may."""
    if provenance == "measured" or gate_estimates:
        return None
    return NOT_GATED_ATTRIBUTED if provenance == "attributed" else NOT_GATED_ESTIMATE


def work_ratio(baseline: CountedWork, candidate: CountedWork) -> Interval:
    """The baseline's instructions over the candidate's, with what both spreads leave open."""
    ratio = baseline.instructions / candidate.instructions
    spread = 1 + baseline.spread + candidate.spread
    return Interval(ratio, ratio / spread, ratio * spread)


def work_verdict(baseline: CountedWork, candidate: CountedWork, tolerance: float) -> Verdict:
    """The verdict on counted work if there is no threshold. Names the functions that grew."""
    ratio = work_ratio(baseline, candidate)
    verdict = against_tolerance("work", ratio, tolerance, how_counted(candidate))
    if verdict.verdict != "regressed":
        return verdict
    grown = [
        f"{unit}{GREW}" + ", ".join(f"{name} +{count:,}" for count, name in most)
        for unit, most in (
            ("bytecodes", _grown(baseline.bytecodes, candidate.bytecodes)),
            ("instructions", _grown(baseline.functions, candidate.functions)),
        )
        if most
    ]
    return Verdict("work", "regressed", "; ".join([verdict.reason, *grown]))


def how_counted(work: CountedWork) -> str:
    """The tool, the counts and the notes behind a verdict on counted work."""
    processes = f"{work.processes} process{'es' if work.processes > 1 else ''}"
    return "; ".join([f"{work.tool}, {work.counts} counts in {processes}", *work.notes])


def _grown(old: Mapping[str, int], new: Mapping[str, int]) -> list[tuple[int, str]]:
    """The functions that grew most, by how much."""
    grown = [
        (count - old.get(name, 0), name) for name, count in new.items() if count > old.get(name, 0)
    ]
    return sorted(grown, reverse=True)[:MOST_GROWN]


def against_threshold(metric: str, ratio: Interval, threshold: float, evidence: str) -> Verdict:
    """The verdict on a ratio that must reach a threshold."""
    text = f"{metric} {ratio}, {ASKED_RATIO} {threshold:g} ({evidence})"
    if ratio.low >= threshold:
        return Verdict(metric, "met", text)
    if ratio.high < threshold:
        return Verdict(metric, "missed", text)
    return Verdict(metric, "inconclusive", text)


def against_tolerance(metric: str, ratio: Interval, tolerance: float, evidence: str) -> Verdict:
    """The verdict on baseline / candidate if there is no threshold."""
    quantity = QUANTITIES.get(metric, metric)
    text = f"{quantity} {ratio.as_change():%}, limit +{100 * tolerance:g} % ({evidence})"
    lowest, highest = 1 / (1 + tolerance), 1 + tolerance
    if ratio.high < lowest:
        return Verdict(metric, "regressed", text)
    if ratio.low > highest:
        return Verdict(metric, "improved", text)
    if lowest <= ratio.low and ratio.high <= highest:
        return Verdict(metric, "unchanged", text)
    return Verdict(metric, "inconclusive", text)


def unless_unstable(
    verdict: Verdict, ratio: Interval, spread: float, waiting_share: float
) -> Verdict:
    """No praise for code that another program disturbed: it would be as good by chance."""
    if verdict.verdict not in ("improved", "met"):
        return verdict
    if ratio.high > UNSTABLE_INTERVAL * ratio.low:
        reason = f"the interval spans a factor of {ratio.high / ratio.low:.3g}"
    elif spread > UNSTABLE_SPREAD:
        reason = f"the slow windows of a side take {spread:.3g} times as long as its fast ones"
    elif waiting_share > UNSTABLE_WAITING:
        reason = f"its threads waited for a CPU {waiting_share:.0%} of their time"
    else:
        return verdict
    return _unstable(verdict, reason)


def _unstable(verdict: Verdict, reason: str) -> Verdict:
    return Verdict(
        verdict.metric,
        "inconclusive",
        f"unstable: {reason}: end other programs, or give the code fewer threads than there are "
        f"idle CPUs (energy_threads = 1); {verdict.reason}",
    )


def of_net_joules(verdict: Verdict, idle: Interval | None) -> Verdict:
    """The verdict on joules, with what was subtracted."""
    if verdict.metric != "greenup" or verdict.verdict == "not gated":
        return verdict
    if idle is None:
        reason = "net joules are to be gated, and the machine's idle power is unknown"
        return Verdict("greenup", "inconclusive", reason)
    subtracted = f"net of {idle.value:.3g} W idle [{idle.low:.3g}, {idle.high:.3g}]"
    return Verdict("greenup", verdict.verdict, f"{verdict.reason}; {subtracted}")


def unless_mostly_others(
    verdict: Verdict, comparison: Comparison, result: Result, net: bool
) -> Verdict:
    """Joules are not `unchanged` where most of them are not the code's: they hide its change."""
    measured = result.measurement.meter.provenance == "measured"
    if (verdict.metric, verdict.verdict) != ("greenup", "unchanged") or not measured:
        return verdict
    others, idle = share_of_others(comparison.blocks) or 0.0, idle_share(result.measurement) or 0.0
    if net:
        idle = 0.0
    if max(others, idle) <= LARGEST_SHARE_OF_OTHERS:
        return verdict
    if others >= idle:
        reason = f"other programs used {others:.0%} of the CPU time, so end them"
    else:
        reason = (
            f"the machine uses {idle:.0%} of these joules idle, so gate net joules (--energy-net), "
            "or choose a smaller tolerance"
        )
    return Verdict(
        "greenup",
        "inconclusive",
        f"others: {reason}: a change of the code's own joules is {1 - max(others, idle):.0%} as "
        f"large in the sum; {verdict.reason}",
    )


def unless_a_neighbours(verdict: Verdict, measurement: Measurement, limit: float) -> Verdict:
    """No failure for a neighbour's time: other programs add time, and never take any away."""
    fastest = min(window.seconds_per_call for window in measurement.windows)
    if (
        verdict.verdict != "missed"
        or measurement.waiting_share <= UNSTABLE_WAITING
        or fastest > limit
    ):
        return verdict
    reason = (
        f"it waited for a CPU {measurement.waiting_share:.0%} of the time, and took "
        f"{fastest:.3g} s per call in its fastest window"
    )
    return _unstable(verdict, reason)


def against_limit(metric: str, unit: str, value: Interval, limit: float, evidence: str) -> Verdict:
    """The verdict on a value per call that must not pass a limit."""
    per_call = "" if unit == "W" else " per call"
    factor, name = _scaled_unit(value.value, unit)
    text = (
        f"{QUANTITIES[metric]} {value.scaled(factor)} {name}{per_call}, "
        f"limit {_limit_text(limit, unit, factor, name)} ({evidence})"
    )
    if value.high <= limit:
        return Verdict(metric, "met", text)
    if value.low > limit:
        return Verdict(metric, "missed", text)
    return Verdict(metric, "inconclusive", text)


def _limit_text(limit: float, unit: str, factor: float, name: str) -> str:
    """The limit in the unit of the value beside it, or in one of its own."""
    low, high = LIMIT_READS_WELL
    if not low < abs(limit * factor) < high:
        factor, name = _scaled_unit(limit, unit)
    return f"{limit * factor:g} {name}"


def _scaled_unit(value: float, unit: str) -> tuple[float, str]:
    """The factor and the unit's name that suit this value.

    >>> _scaled_unit(1_960_000, "instructions")
    (1e-06, 'M instructions')
    """
    factor, name = scale_for([value], unit if unit in SI_UNITS else f" {unit}")
    return factor, name.strip()


def of_quality(quality: Quality) -> Verdict:
    """The verdict on a quality: its floor and its ceiling."""
    if not quality.limits:
        return Verdict(quality.name, "not gated", f"{quality.name} has no floor and no ceiling")
    text = f"{quality.name} {quality.value:.4g}, {quality.limits}"
    return Verdict(quality.name, "met" if quality.meets_its_limits else "missed", text)


def count_blocks(blocks: Sequence[Block]) -> str:
    """``12 blocks``, or ``313 blocks of 16 starts`` where processes were started."""
    starts = starts_of(blocks)
    return f"{len(blocks)} blocks of {len(starts)} starts" if starts else f"{len(blocks)} blocks"

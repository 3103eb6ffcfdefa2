"""The gate: the requirements of a benchmark, and a verdict on each.

The rules:

- A verdict needs the whole interval on one side of its limit; else it is `inconclusive`.
- A number that must not decide, such as an estimate, is `not gated`, with the reason.
- An alarm of one test among many needs more: the false alarms of a run stay under
  `--energy-suite-alpha`.
- Code that other programs disturb is neither `improved` nor `met`: `inconclusive: unstable`.
- Every requirement gets a verdict. Nothing passes silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_energy.model import (
    Block,
    Comparison,
    Counted,
    CountedWork,
    Interval,
    Measurement,
    MeterInfo,
    Provenance,
    Quality,
    Result,
    Verdict,
)
from pytest_energy.plan import WORK_TOLERANCE
from pytest_energy.stats.gps_up import COUNTER_SHARE, GpsUp, counter_error, gps_up, window_spread
from pytest_energy.stats.net import idle_range, net_gps_up
from pytest_energy.stats.others import share_of_others
from pytest_energy.stats.per_call import figures, idle_share
from pytest_energy.stats.si_prefixes import scale_for

NOT_GATED_ESTIMATE = (
    "joules are estimated from CPU seconds here and add nothing to the timings; "
    "energy_gate_estimates = true gates them anyway"
)
NOT_GATED_ATTRIBUTED = (
    "joules are attributed here: a share, by CPU time, of what another machine's sensor counted; "
    "energy_gate_estimates = true gates them, energy_trust_sensor = true calls them measured"
)
NOT_GATED_COUNTED = "only work was counted; measure with --energy"
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
# Of 40 pairs of processes of equal code the ratios had an SD of 0.6 to 1.4 %, by where memory lies.
# Three of these are the least tolerance at which one process's verdict is the code's.
ONE_PROCESS_TOLERANCE = 0.03
# What is wrong if it is a false alarm. `improved` fails nothing, but people act on it.
ALARMS = ("regressed", "missed", "improved")
NO_JOULES = "the counter of {} did not move in some window"

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


@dataclass(frozen=True)
class Budget:
    """Limits per call: the ``energy`` marker. None: no limit."""

    max_joules: float | None = None
    max_watts: float | None = None
    max_seconds: float | None = None
    max_instructions: float | None = None
    """Of counted work: a limit that no machine and no neighbour moves."""


@dataclass(frozen=True)
class Thresholds:
    """Ratios that a comparison must reach: the ``gps_up`` marker. None: no threshold."""

    speedup: float | None = None
    greenup: float | None = None
    work: float | None = None
    """The baseline's instructions over the candidate's."""


@dataclass(frozen=True)
class Gate:
    """The requirements of one benchmark."""

    budget: Budget = Budget()
    thresholds: Thresholds | None = None
    """None: the test has no ``gps_up`` marker, and a comparison must not regress."""
    tolerance: float = 0.03
    gate_estimates: bool = False
    work_tolerance: float = WORK_TOLERANCE
    alarm_alpha: float | None = None
    """1 - confidence that an alarm requires: see `Plan.as_one_of`. None: that of the intervals."""
    net: bool = False
    """Whether the ratio of joules is that of net joules."""

    @property
    def asks_nothing(self) -> bool:
        """Whether no marker requires a measurement."""
        return self.budget == Budget() and self.thresholds is None

    def decided(self, ratios: GpsUp, meter: MeterInfo) -> bool:
        """Whether more blocks cannot settle any inconclusive verdict."""
        # No later block repairs a counter that stood still in one block, or that is too coarse.
        lost = ("greenup",) if ratios.greenup is None or self._too_coarse(ratios) else ()
        return not any(
            verdict.verdict == "inconclusive" and verdict.metric not in lost
            for verdict in self._of_ratios(ratios, meter, "")
        )

    def judge(self, result: Result) -> tuple[Verdict, ...]:
        """The verdicts on one benchmark: its comparison, its budget, its qualities."""
        verdicts = [
            *self._of_budget(result),
            *(_of_quality(quality) for quality in result.qualities),
        ]
        comparison = result.comparison
        if comparison is not None:
            meter = result.measurement.meter
            error = counter_error(comparison.blocks, meter)
            spread = window_spread(comparison.blocks)
            alarm = None
            if self.alarm_alpha is not None:
                alarm = gps_up(comparison.blocks, meter, self.alarm_alpha)
            ratios = GpsUp(
                comparison.speedup,
                comparison.greenup,
                comparison.powerup,
                error,
                spread,
                alarm=alarm,
            )
            idle = idle_range(meter, result.measurement.idle) if self.net else None
            if idle is not None:
                alphas = 1 - comparison.confidence, self.alarm_alpha
                ratios = net_gps_up(comparison.blocks, meter, *alphas, idle)
            evidence = (
                f"baseline {comparison.baseline_name}, {count_blocks(comparison.blocks)} "
                f"at {100 * comparison.confidence:.4g}%; joules {meter.provenance} by {meter.name}"
            )
            one_process = all(block.replicate is None for block in comparison.blocks)
            if one_process and self.thresholds is None and self.tolerance < ONE_PROCESS_TOLERANCE:
                evidence += (
                    f"; of this process: below {ONE_PROCESS_TOLERANCE:.0%} another process of the "
                    "same code may differ, by where its memory lies (--energy-fresh-processes)"
                )
            of_ratios = self._of_ratios(ratios, meter, evidence, comparison.waiting_share)
            verdicts = [
                *(
                    _unless_mostly_others(
                        _of_net(verdict, idle) if self.net else verdict,
                        comparison,
                        result,
                        self.net,
                    )
                    for verdict in of_ratios
                ),
                *verdicts,
            ]
        elif self.thresholds is not None:
            reason = "the gps_up marker requires ratios, but the test never called energy.versus"
            verdicts.append(Verdict("gps_up", "missed", reason))
        return (*verdicts, *self._of_work(result.counted))

    def judge_counted(self, result: Result) -> tuple[Verdict, ...]:
        """The verdicts of a run that counted work only: on its counts and qualities."""
        asked = [name for name in ("joules", "watts", "seconds") if self._limit(name) is not None]
        asked += [
            name
            for name in ("speedup", "greenup")
            if self.thresholds is not None and getattr(self.thresholds, name) is not None
        ]
        return (
            *(_of_quality(quality) for quality in result.qualities),
            *(Verdict(name, "not gated", NOT_GATED_COUNTED) for name in asked),
            *self._of_work(result.counted),
        )

    def _limit(self, name: str) -> float | None:
        limit: float | None = getattr(self.budget, f"max_{name}")
        return limit

    def _of_ratios(
        self, ratios: GpsUp, meter: MeterInfo, evidence: str, waiting_share: float = 0.0
    ) -> Iterator[Verdict]:
        asked = self.thresholds or Thresholds()
        not_gated = joules_not_gated(meter.provenance, self.gate_estimates)
        alarm = ratios.alarm or ratios
        for metric, ratio, of_alarm, threshold in (
            ("speedup", ratios.speedup, alarm.speedup, asked.speedup),
            ("greenup", ratios.greenup, alarm.greenup, asked.greenup),
        ):
            if self.thresholds is not None and threshold is None:
                continue
            if metric == "greenup" and not_gated:
                yield Verdict(metric, "not gated", not_gated)
            elif ratio is None:
                yield Verdict(metric, "inconclusive", NO_JOULES.format(meter.name))
            elif metric == "greenup" and self._too_coarse(ratios):
                yield Verdict(metric, "inconclusive", self._coarse(ratios, meter))
            else:
                verdict = self._of_ratio(metric, ratio, threshold, evidence)
                if verdict.verdict in ALARMS and of_alarm is not None:
                    sure = self._of_ratio(metric, of_alarm, threshold, evidence)
                    verdict = self._if_sure(verdict, sure)
                yield _unless_unstable(verdict, ratio, ratios.window_spread, waiting_share)
        if self.thresholds == Thresholds():
            yield Verdict("gps_up", "not gated", "the gps_up marker has no threshold")

    def _of_ratio(
        self, metric: str, ratio: Interval, threshold: float | None, evidence: str
    ) -> Verdict:
        if threshold is None:
            return against_tolerance(metric, ratio, self.tolerance, evidence)
        return _against_threshold(metric, ratio, threshold, evidence)

    def _if_sure(self, verdict: Verdict, sure: Verdict) -> Verdict:
        """The alarm, if it is one at the level of `alarm_alpha` too."""
        if sure.verdict == verdict.verdict or self.alarm_alpha is None:
            return verdict
        reason = (
            f"suite: {verdict.verdict} taken alone, but not at {1 - self.alarm_alpha:.4%}, which "
            f"one test of this run needs (--energy-suite-alpha): {sure.reason}"
        )
        return Verdict(verdict.metric, "inconclusive", reason)

    def _of_work(self, counted: Counted | None) -> Iterator[Verdict]:
        """Counted work: its ratio, if both sides were counted, and its budget."""
        limit, threshold = self.budget.max_instructions, (self.thresholds or Thresholds()).work
        candidate = counted.candidate if counted is not None else None
        if counted is None or candidate is None:
            reason = counted.reason if counted is not None else "not counted: add --energy-count"
            if counted is not None or limit is not None or threshold is not None:
                yield Verdict("work", "not gated", reason)
            return
        if counted.baseline_reason:
            yield Verdict("work", "not gated", counted.baseline_reason)
        elif counted.baseline is not None and (self.thresholds is None or threshold is not None):
            if threshold is None:
                yield work_verdict(counted.baseline, candidate, self.work_tolerance)
            else:
                ratio = work_ratio(counted.baseline, candidate)
                yield _against_threshold("work", ratio, threshold, _how_counted(candidate))
        if limit is not None:
            value = Interval(1.0, 1.0, 1.0 + candidate.spread).scaled(candidate.instructions)
            yield _against_limit(
                "instructions", "instructions", value, limit, _how_counted(candidate)
            )

    def _too_coarse(self, ratios: GpsUp) -> bool:
        return ratios.counter_error > self.tolerance * COUNTER_SHARE

    def _coarse(self, ratios: GpsUp, meter: MeterInfo) -> str:
        return (
            f"the counter of {meter.name} is too coarse (its own error is "
            f"{ratios.counter_error:.2%} of a side's joules in a block; allowed are "
            f"{self.tolerance * COUNTER_SHARE:.2%}, a third of the tolerance; set a smaller "
            "--energy-quantisation for longer windows, or a higher tolerance)"
        )

    def _of_budget(self, result: Result) -> Iterator[Verdict]:
        meter = result.measurement.meter
        per_call = figures(result.measurement)
        not_gated = joules_not_gated(meter.provenance, self.gate_estimates)
        evidence = (
            f"{len(result.measurement.windows)} windows; joules {meter.provenance} by {meter.name}"
        )
        for metric, unit, value, limit in (
            ("joules", "J", per_call.joules, self.budget.max_joules),
            ("watts", "W", per_call.watts, self.budget.max_watts),
            ("seconds", "s", per_call.seconds, self.budget.max_seconds),
        ):
            if limit is None:
                continue
            if metric != "seconds" and not_gated:
                yield Verdict(metric, "not gated", not_gated)
            elif value is None:
                yield Verdict(metric, "inconclusive", NO_JOULES.format(meter.name))
            else:
                verdict = _against_limit(metric, unit, value, limit, evidence)
                if metric == "seconds":
                    verdict = _unless_a_neighbours(verdict, result.measurement, limit)
                yield verdict


def work_ratio(baseline: CountedWork, candidate: CountedWork) -> Interval:
    """The baseline's instructions over the candidate's, with what both spreads leave open."""
    ratio = baseline.instructions / candidate.instructions
    spread = 1 + baseline.spread + candidate.spread
    return Interval(ratio, ratio / spread, ratio * spread)


def work_verdict(baseline: CountedWork, candidate: CountedWork, tolerance: float) -> Verdict:
    """The verdict on counted work if there is no threshold. Names the functions that grew."""
    ratio = work_ratio(baseline, candidate)
    verdict = against_tolerance("work", ratio, tolerance, _how_counted(candidate))
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


def _how_counted(work: CountedWork) -> str:
    processes = f"{work.processes} process{'es' if work.processes > 1 else ''}"
    return "; ".join([f"{work.tool}, {work.counts} counts in {processes}", *work.notes])


def _grown(old: Mapping[str, int], new: Mapping[str, int]) -> list[tuple[int, str]]:
    """The functions that grew most, by how much."""
    grown = [
        (count - old.get(name, 0), name) for name, count in new.items() if count > old.get(name, 0)
    ]
    return sorted(grown, reverse=True)[:MOST_GROWN]


def _against_threshold(metric: str, ratio: Interval, threshold: float, evidence: str) -> Verdict:
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


def _unless_unstable(
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


def _of_net(verdict: Verdict, idle: Interval | None) -> Verdict:
    """The verdict on joules, with what was subtracted."""
    if verdict.metric != "greenup" or verdict.verdict == "not gated":
        return verdict
    if idle is None:
        reason = "net joules are to be gated, and the machine's idle power is unknown"
        return Verdict("greenup", "inconclusive", reason)
    subtracted = f"net of {idle.value:.3g} W idle [{idle.low:.3g}, {idle.high:.3g}]"
    return Verdict("greenup", verdict.verdict, f"{verdict.reason}; {subtracted}")


def _unless_mostly_others(
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


def _unless_a_neighbours(verdict: Verdict, measurement: Measurement, limit: float) -> Verdict:
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


def _against_limit(metric: str, unit: str, value: Interval, limit: float, evidence: str) -> Verdict:
    per_call = "" if unit == "W" else " per call"
    factor, name = scale_for([value.value], unit) if unit in SI_UNITS else (1.0, unit)
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
    if unit in SI_UNITS and not low < abs(limit * factor) < high:
        factor, name = scale_for([limit], unit)
    return f"{limit * factor:g} {name}"


def _of_quality(quality: Quality) -> Verdict:
    if not quality.limits:
        return Verdict(quality.name, "not gated", f"{quality.name} has no floor and no ceiling")
    text = f"{quality.name} {quality.value:.4g}, {quality.limits}"
    return Verdict(quality.name, "met" if quality.meets_its_limits else "missed", text)


def count_blocks(blocks: Sequence[Block]) -> str:
    """``12 blocks``, or ``313 blocks of 16 starts`` where processes were started."""
    starts = {block.replicate for block in blocks} - {None}
    return f"{len(blocks)} blocks of {len(starts)} starts" if starts else f"{len(blocks)} blocks"

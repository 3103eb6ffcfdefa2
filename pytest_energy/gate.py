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

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_energy.model import (
    Counted,
    Interval,
    MeterInfo,
    Result,
    Verdict,
)
from pytest_energy.plan import WORK_TOLERANCE
from pytest_energy.stats.gps_up import COUNTER_SHARE, GpsUp, counter_error, gps_up, window_spread
from pytest_energy.stats.net import idle_range, net_gps_up
from pytest_energy.stats.per_call import figures
from pytest_energy.verdicts import (
    against_limit,
    against_threshold,
    against_tolerance,
    count_blocks,
    how_counted,
    joules_not_gated,
    of_net_joules,
    of_quality,
    unless_a_neighbours,
    unless_mostly_others,
    unless_unstable,
    work_ratio,
    work_verdict,
)

NOT_GATED_COUNTED = "only work was counted; measure with --energy"
# Of 40 pairs of processes of equal code the ratios had an SD of 0.6 to 1.4 %, by where memory lies.
# Three of these are the least tolerance at which one process's verdict is the code's.
ONE_PROCESS_TOLERANCE = 0.03
# What is wrong if it is a false alarm. `improved` fails nothing, but people act on it.
ALARMS = ("regressed", "missed", "improved")
NO_JOULES = "the counter of {} did not move in some window"


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
            *(of_quality(quality) for quality in result.qualities),
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
                    unless_mostly_others(
                        of_net_joules(verdict, idle) if self.net else verdict,
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
            *(of_quality(quality) for quality in result.qualities),
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
                yield unless_unstable(verdict, ratio, ratios.window_spread, waiting_share)
        if self.thresholds == Thresholds():
            yield Verdict("gps_up", "not gated", "the gps_up marker has no threshold")

    def _of_ratio(
        self, metric: str, ratio: Interval, threshold: float | None, evidence: str
    ) -> Verdict:
        if threshold is None:
            return against_tolerance(metric, ratio, self.tolerance, evidence)
        return against_threshold(metric, ratio, threshold, evidence)

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
                yield against_threshold("work", ratio, threshold, how_counted(candidate))
        if limit is not None:
            value = Interval(1.0, 1.0, 1.0 + candidate.spread).scaled(candidate.instructions)
            yield against_limit(
                "instructions", "instructions", value, limit, how_counted(candidate)
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
                verdict = against_limit(metric, unit, value, limit, evidence)
                if metric == "seconds":
                    verdict = unless_a_neighbours(verdict, result.measurement, limit)
                yield verdict

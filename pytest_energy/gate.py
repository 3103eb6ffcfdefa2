"""The gate: what is asked of a benchmark, and the verdict on each thing asked.

A verdict needs the whole interval on one side. Where the interval holds the threshold, the verdict is
`inconclusive`; where a number must not decide, `not gated`, with the reason. Nothing passes in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_energy.model import Interval, MeterInfo, Quality, Result, Verdict
from pytest_energy.stats.gps_up import COUNTER_SHARE, GpsUp, counter_error, extent
from pytest_energy.stats.per_call import figures

NOT_GATED_ESTIMATE = (
    "joules are estimated from CPU seconds here, so they add nothing that time did not say; "
    "energy_gate_estimates = true gates them all the same"
)


@dataclass(frozen=True)
class Budget:
    """The most that a call may take: the ``energy`` marker. None: not asked."""

    max_joules: float | None = None
    max_watts: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Thresholds:
    """What a comparison has to reach: the ``gps_up`` marker. None: not asked."""

    speedup: float | None = None
    greenup: float | None = None


@dataclass(frozen=True)
class Gate:
    """What is asked of one benchmark."""

    budget: Budget = Budget()
    thresholds: Thresholds | None = None
    """None: no ``gps_up`` marker; then a comparison is gated on regressions."""
    tolerance: float = 0.03
    gate_estimates: bool = False

    @property
    def asks_nothing(self) -> bool:
        """Whether no marker asked for anything that has to be measured."""
        return self.budget == Budget() and self.thresholds is None

    def decided(self, ratios: GpsUp, meter: MeterInfo) -> bool:
        """Whether more blocks are of no use: no verdict is inconclusive that they could still settle."""
        # A counter that stood still in one block leaves no greenup, and no later block mends that; nor a coarse one.
        lost = ("greenup",) if ratios.greenup is None or self._too_coarse(ratios) else ()
        return not any(
            verdict.verdict == "inconclusive" and verdict.metric not in lost
            for verdict in self._of_ratios(ratios, meter, "")
        )

    def judge(self, result: Result) -> tuple[Verdict, ...]:
        """The verdicts on one benchmark: of its comparison, its budget, its qualities."""
        verdicts = [
            *self._of_budget(result),
            *(_of_quality(quality) for quality in result.qualities),
        ]
        comparison = result.comparison
        if comparison is not None:
            meter = result.measurement.meter
            error = counter_error(comparison.blocks, meter)
            ratios = GpsUp(comparison.speedup, comparison.greenup, comparison.powerup, error)
            evidence = (
                f"baseline {comparison.baseline_name}, {extent(comparison.blocks)} at {100 * comparison.confidence:.4g}%; "
                f"joules {meter.provenance} by {meter.name}"
            )
            verdicts = [*self._of_ratios(ratios, meter, evidence), *verdicts]
        elif self.thresholds is not None:
            reason = "the gps_up marker asks for ratios, but the test never called energy.versus"
            verdicts.append(Verdict("gps_up", "missed", reason))
        return tuple(verdicts)

    def _of_ratios(self, ratios: GpsUp, meter: MeterInfo, evidence: str) -> Iterator[Verdict]:
        asked = self.thresholds or Thresholds()
        for metric, ratio, threshold in (
            ("speedup", ratios.speedup, asked.speedup),
            ("greenup", ratios.greenup, asked.greenup),
        ):
            if self.thresholds is not None and threshold is None:
                continue
            if metric == "greenup" and meter.provenance == "estimated" and not self.gate_estimates:
                yield Verdict(metric, "not gated", NOT_GATED_ESTIMATE)
            elif ratio is None:
                yield Verdict(
                    metric,
                    "inconclusive",
                    f"the counter of {meter.name} did not move in some window",
                )
            elif metric == "greenup" and self._too_coarse(ratios):
                yield Verdict(metric, "inconclusive", self._coarse(ratios, meter))
            elif threshold is not None:
                yield _against_threshold(metric, ratio, threshold, evidence)
            else:
                yield against_tolerance(metric, ratio, self.tolerance, evidence)
        if self.thresholds == Thresholds():
            yield Verdict("gps_up", "not gated", "the gps_up marker names no threshold: shown only")

    def _too_coarse(self, ratios: GpsUp) -> bool:
        return ratios.counter_error > self.tolerance * COUNTER_SHARE

    def _coarse(self, ratios: GpsUp, meter: MeterInfo) -> str:
        return (
            f"counter: that of {meter.name} is too coarse: its own error is {ratios.counter_error:.2%} of a side's joules in "
            f"a block, and may be {self.tolerance * COUNTER_SHARE:.2%}, a third of the tolerance; "
            "a smaller --energy-quantisation makes longer windows, and a higher tolerance needs less"
        )

    def _of_budget(self, result: Result) -> Iterator[Verdict]:
        meter = result.measurement.meter
        seen = figures(result.measurement)
        evidence = (
            f"{len(result.measurement.windows)} windows; joules {meter.provenance} by {meter.name}"
        )
        for metric, unit, value, limit in (
            ("joules", "J", seen.joules, self.budget.max_joules),
            ("watts", "W", seen.watts, self.budget.max_watts),
            ("seconds", "s", seen.seconds, self.budget.max_seconds),
        ):
            if limit is None:
                continue
            if metric != "seconds" and meter.provenance == "estimated" and not self.gate_estimates:
                yield Verdict(metric, "not gated", NOT_GATED_ESTIMATE)
            elif value is None:
                yield Verdict(
                    metric,
                    "inconclusive",
                    f"the counter of {meter.name} did not move in some window",
                )
            else:
                yield _against_limit(metric, unit, value, limit, evidence)


def _against_threshold(metric: str, ratio: Interval, threshold: float, evidence: str) -> Verdict:
    text = f"{metric} {show(ratio)} against the threshold {threshold:g} ({evidence})"
    if ratio.low >= threshold:
        return Verdict(metric, "met", text)
    if ratio.high < threshold:
        return Verdict(metric, "missed", text)
    return Verdict(metric, "inconclusive", text)


def against_tolerance(metric: str, ratio: Interval, tolerance: float, evidence: str) -> Verdict:
    """The verdict on baseline / candidate where no threshold is asked: the whole interval has to lie on one side."""
    text = f"{metric} {show(ratio)} at a tolerance of {tolerance:.1%} ({evidence})"
    lowest, highest = 1 / (1 + tolerance), 1 + tolerance
    if ratio.high < lowest:
        return Verdict(metric, "regressed", text)
    if ratio.low > highest:
        return Verdict(metric, "improved", text)
    if lowest <= ratio.low and ratio.high <= highest:
        return Verdict(metric, "unchanged", text)
    return Verdict(metric, "inconclusive", text)


def _against_limit(metric: str, unit: str, value: Interval, limit: float, evidence: str) -> Verdict:
    text = f"{show(value)} {unit} per call against at most {limit:g} {unit} ({evidence})"
    if value.high <= limit:
        return Verdict(metric, "met", text)
    if value.low > limit:
        return Verdict(metric, "missed", text)
    return Verdict(metric, "inconclusive", text)


def _of_quality(quality: Quality) -> Verdict:
    if quality.floor is None:
        return Verdict(quality.name, "not gated", f"{quality.name} has no floor: shown only")
    text = f"{quality.name} {quality.value:.4g} against the floor {quality.floor:.4g}"
    # Not "value < floor": an accuracy that is NaN must not pass.
    return Verdict(quality.name, "met" if quality.value >= quality.floor else "missed", text)


def show(interval: Interval) -> str:
    """``1.63 [1.60, 1.66]``; unknown bounds are said to be unknown."""
    if interval.high == float("inf"):
        return f"{interval.value:.3g} [too few blocks for an interval]"
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"

"""Greenup and speedup of saved runs: intervals, chances, verdicts, and advice for unclear ones."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from pytest_energy.model import Interval, Verdict
from pytest_energy.runs.comparison import Change, CompareOptions
from pytest_energy.runs.noise import Noise, Quantity
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary
from pytest_energy.stats.gps_up import COUNTER_SHARE
from pytest_energy.stats.moderated import FEWEST_RUNS, Spread, moderated_error, suite_spread
from pytest_energy.stats.order_statistics import exp_interval
from pytest_energy.stats.unpaired import (
    benjamini_hochberg,
    holm,
    noise_errors,
    pooled_sd,
    rank_can_tell,
    rank_chance,
    rank_shift,
    runs_for_rank,
    t_chance,
    t_shift,
)
from pytest_energy.verdicts import against_tolerance, joules_not_gated

METRICS: tuple[tuple[str, Quantity, str], ...] = (
    ("greenup", "joules", "J"),
    ("speedup", "seconds", "s"),
)
# A live comparison is less work than more saved runs than this per side.
MOST_RUNS = 40
# math.exp overflows at 709.8.
LARGEST_LOG = 700.0


Logs = tuple[float, ...]
"""Logarithms of the medians, one a run."""


@dataclass(frozen=True)
class PendingRatio:
    """One ratio, before it is known whether it stands out among all ratios of the suite."""

    old: Logs
    new: Logs
    log_ratio: Interval
    chance: float
    """The chance of a ratio this bad if nothing regressed beyond the tolerance."""


class RatioComparison:
    """Collects the runs of all benchmarks, and then gives the verdicts on their ratios."""

    def __init__(
        self,
        old: Sequence[RunSummary],
        new: Sequence[RunSummary],
        options: CompareOptions,
        noise: Noise,
    ):
        self._options, self._noise = options, noise
        self._meter = new[0].meter
        self._joules_not_gated = _joules_not_gated([*old, *new], options)
        self._commit = next((run.commit for run in reversed(old) if run.commit), "")
        self._sides: dict[str, tuple[list[BenchmarkSummary], list[BenchmarkSummary]]] = {}
        self._pending: dict[tuple[str, str], PendingRatio] = {}
        self.suite_spreads: dict[Quantity, Spread] = {}

    @property
    def gated(self) -> int:
        """The number of ratios that are gated together."""
        return len(self._pending)

    def add(self, name: str, old: list[BenchmarkSummary], new: list[BenchmarkSummary]) -> None:
        """Add the runs of one benchmark."""
        self._sides[name] = old, new

    def changes(self) -> dict[str, list[Change]]:
        """The greenup and speedup of each benchmark that was added, with verdicts."""
        for metric, quantity, _ in METRICS:
            if quantity == "seconds" or self._joules_not_gated is None:
                self._add_pending(metric, quantity)
        chances = [pending.chance for pending in self._pending.values()]
        stand_out = holm if self._options.family_wise else benjamini_hochberg
        confirmed = dict(
            zip(self._pending, stand_out(chances, self._options.suite_alpha), strict=True)
        )
        return {
            name: [
                self._change(name, *metric, confirmed.get((name, metric[0]), False))
                for metric in METRICS
            ]
            for name in self._sides
        }

    def _add_pending(self, metric: str, quantity: Quantity) -> None:
        """The ratios of one metric, of all benchmarks with a figure in each run."""
        sides: dict[str, tuple[Logs, Logs]] = {}
        for name, (old, new) in self._sides.items():
            before, after = _known(_logs(old, quantity)), _known(_logs(new, quantity))
            if len(before) == len(old) and len(after) == len(new):
                sides[name] = before, after
        suite = suite_spread(list(sides.values()))
        if suite is not None:
            self.suite_spreads[quantity] = suite
        for name, (before, after) in sides.items():
            self._pending[name, metric] = self._pending_ratio(before, after, quantity)

    def _pending_ratio(self, old: Logs, new: Logs, quantity: Quantity) -> PendingRatio:
        alpha, limit = self._options.alpha, -math.log1p(self._options.tolerance)
        suite = self.suite_spreads.get(quantity)
        if suite is not None and min(len(old), len(new)) >= FEWEST_RUNS:
            errors = [moderated_error(old, new, suite)]
        elif rank_can_tell(len(old), len(new), alpha):
            shift, chance = rank_shift(old, new, alpha), rank_chance(old, new, limit)
            return PendingRatio(old, new, shift, chance)
        else:
            errors = noise_errors(old, new, self._noise.sd(quantity), self._noise.runs)
        shift, chance = t_shift(old, new, errors, alpha), t_chance(old, new, errors, limit)
        return PendingRatio(old, new, shift, chance)

    def _change(
        self, name: str, metric: str, quantity: Quantity, unit: str, confirmed: bool
    ) -> Change:
        old, new = self._sides[name]
        pending = self._pending.get((name, metric))
        ratio = None if pending is None else _exp(pending.log_ratio)
        advice = ""
        if pending is None or ratio is None:
            verdict = self._verdict_without_ratio(metric, quantity)
        elif quantity == "joules" and (reason := self._too_coarse([*old, *new])):
            verdict = Verdict(metric, "inconclusive", reason)
        else:
            verdict = self._verdict(metric, pending, ratio, confirmed)
            if verdict.verdict == "inconclusive":
                advice = self._advice(name, pending, quantity)
        before, after = (_value(_logs(side, quantity)) for side in (old, new))
        return Change(metric, unit, before, after, ratio, len(old), len(new), verdict, advice)

    def _verdict_without_ratio(self, metric: str, quantity: Quantity) -> Verdict:
        if quantity == "joules" and self._joules_not_gated is not None:
            return Verdict(metric, "not gated", self._joules_not_gated)
        reason = f"the counter of {self._meter.name} did not move in some window"
        return Verdict(metric, "inconclusive", reason)

    def _verdict(
        self, metric: str, pending: PendingRatio, ratio: Interval, confirmed: bool
    ) -> Verdict:
        evidence = (
            f"{len(pending.old)} against {len(pending.new)} saved runs, "
            f"each bound at {1 - self._options.alpha:.0%}"
        )
        if metric == "greenup":
            evidence += f"; joules {self._meter.provenance} by {self._meter.name}"
        verdict = against_tolerance(metric, ratio, self._options.tolerance, evidence)
        if verdict.verdict != "regressed" or confirmed:
            return verdict
        reason = (
            f"{verdict.reason}: regressed taken alone (by chance in {pending.chance:.2g}), "
            f"but not among {self.gated} comparisons at {self._options.suite_alpha:.0%}"
        )
        return Verdict(metric, "inconclusive", reason)

    def _too_coarse(self, benchmarks: Sequence[BenchmarkSummary]) -> str | None:
        worst = max(benchmark.quantisation for benchmark in benchmarks)
        tolerance = self._options.tolerance
        if worst <= tolerance * COUNTER_SHARE:
            return None
        return (
            f"counter: its own error is {worst:.1%} of a window, over a third of the tolerance of "
            f"{tolerance:.1%}; measure longer windows with --energy-max-time or a smaller "
            "--energy-quantisation"
        )

    def _advice(self, name: str, pending: PendingRatio, quantity: Quantity) -> str:
        """The number of runs per side that settles it at this spread, and the live command."""
        live = f"pytest --energy --energy-against {self._commit[:12] or 'REV'} {shlex.quote(name)}"
        runs = self._runs_needed(pending, quantity)
        if runs > MOST_RUNS:
            return f"more than {MOST_RUNS} runs a side would be needed; live: {live}"
        return f"about {runs} runs a side would settle it; live: {live}"

    def _runs_needed(self, pending: PendingRatio, quantity: Quantity) -> int:
        limit = math.log1p(self._options.tolerance)
        level = min(self._options.alpha, self._options.suite_alpha / self.gated)
        own_sd = pooled_sd(pending.old, pending.new)
        sd = self._noise.sd(quantity) if own_sd is None else own_sd
        ratio = pending.log_ratio.value
        gap = min(abs(ratio - limit), abs(ratio + limit))
        quantile = NormalDist().inv_cdf(1 - level)
        if gap * MOST_RUNS <= quantile * sd:
            return MOST_RUNS + 1
        fewest = FEWEST_RUNS if quantity in self.suite_spreads else runs_for_rank(level)
        more = min(len(pending.old), len(pending.new)) + 1
        return max(math.ceil(2 * (quantile * sd / gap) ** 2), fewest, more)


def _joules_not_gated(runs: Sequence[RunSummary], options: CompareOptions) -> str | None:
    """The reason why joules decide nothing here, or None."""
    provenance = runs[0].meter.provenance
    if reason := joules_not_gated(provenance, options.gate_estimates):
        return reason
    # The notes of an estimate name the watts that it uses.
    if provenance == "estimated" and len({run.meter.notes for run in runs}) > 1:
        return "joules are estimated, and not from the same watts in all runs"
    return None


def _logs(benchmarks: Sequence[BenchmarkSummary], quantity: Quantity) -> list[float | None]:
    if quantity == "seconds":
        return [benchmark.log_seconds for benchmark in benchmarks]
    return [benchmark.log_joules for benchmark in benchmarks]


def _known(logs: Sequence[float | None]) -> Logs:
    return tuple(log for log in logs if log is not None)


def _value(logs: Sequence[float | None]) -> float | None:
    known = _known(logs)
    return math.exp(median(known)) if len(known) == len(logs) else None


def _exp(logs: Interval) -> Interval:
    """The ratio of a log-ratio; ratios beyond a double's range end there."""
    bounds = (logs.value, logs.low, logs.high)
    return exp_interval(Interval(*(max(-LARGEST_LOG, min(value, LARGEST_LOG)) for value in bounds)))

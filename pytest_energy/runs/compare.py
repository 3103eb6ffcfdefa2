"""Saved runs against each other. The run is the replicate: its windows share what the machine did that minute.

Metrics are the ratios OLD / NEW of GPS-UP, as in a live comparison: speedup of seconds, greenup of joules,
over the medians of the runs; the verdict is the gate's, see `gate.against_tolerance`. How the intervals come
to be, and what they assume, is said in unpaired.py.

- One run on either side: nothing under the machine's noise (noise.py) is ever called regressed.
- Regressed only if it also stands among all comparisons of the suite (Holm at `SUITE_ALPHA`).
- Where something stays inconclusive, `Change.advice` says how many runs, or which live command, would settle it.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from pytest_energy.errors import RunsIncomparable
from pytest_energy.gate import NOT_GATED_ESTIMATE, against_tolerance
from pytest_energy.machine import fingerprint
from pytest_energy.model import Interval, Result, Verdict
from pytest_energy.runs.json_format import Run
from pytest_energy.runs.load import Point, SavedRun, boil_down, load_runs, refuse_incomparable
from pytest_energy.runs.noise import Noise, Quantity, load_noise
from pytest_energy.stats.gps_up import COUNTER_SHARE
from pytest_energy.stats.order_statistics import exp_interval, median
from pytest_energy.stats.unpaired import (
    few_chance,
    few_shift,
    holm,
    pooled_sd,
    rank_can_tell,
    rank_chance,
    rank_shift,
    runs_for_rank,
)

# How probable a single false alarm may be in a whole suite without a change. For one comparison it is `Rules.alpha`.
SUITE_ALPHA = 0.05
# More runs than these a side are more trouble than a live comparison.
MOST_RUNS = 40
# A share of right answers is taken to be of so many cases where nothing else is said: a small test set. Of all
# ways to lose k of them the surest is k lost and none won, which by the sign test is chance with 2**-k: at 1 %, 7 cases,
# and fewer are inside the sampling noise however they came about. So 6 of 375 may go, 1.6 points.
QUALITY_CASES = 375

METRICS: tuple[tuple[str, Quantity, str], ...] = (
    ("greenup", "joules", "J"),
    ("speedup", "seconds", "s"),
)
# What a reader has to see first.
SEVERITY = ("regressed", "inconclusive", "not gated", "improved", "unchanged")


@dataclass(frozen=True)
class Rules:
    """What counts as a change."""

    tolerance: float = 0.03
    alpha: float = 0.01
    gate_estimates: bool = False
    quality_tolerance: float | None = None
    """How much a quality may go down, in its own unit. None: what `QUALITY_CASES` cases cannot tell."""


@dataclass(frozen=True)
class Change:
    """What became of one metric of one benchmark."""

    metric: str
    unit: str
    """Of ``old`` and ``new``; "" for a quality."""
    old: float | None
    new: float | None
    """Median over the runs, per call."""
    ratio: Interval | None
    old_runs: int
    new_runs: int
    verdict: Verdict
    advice: str = ""


@dataclass(frozen=True)
class Row:
    """One benchmark."""

    name: str
    changes: tuple[Change, ...]

    @property
    def severity(self) -> int:
        return min(SEVERITY.index(change.verdict.verdict) for change in self.changes)


@dataclass(frozen=True)
class RunComparison:
    """Two sets of runs against each other."""

    old: tuple[SavedRun, ...]
    new: tuple[SavedRun, ...]
    rows: tuple[Row, ...]
    """The gravest first, then by name."""
    rules: Rules
    noise: Noise
    gated: int
    """How many ratios were gated together."""

    @property
    def counts(self) -> Counter[str]:
        return Counter(change.verdict.verdict for row in self.rows for change in row.changes)

    def failure(self, strict: bool) -> Literal["regressed", "inconclusive"] | None:
        """The gravest verdict that has to fail a build; with ``strict`` an inconclusive one does too."""
        if self.counts["regressed"]:
            return "regressed"
        return "inconclusive" if strict and self.counts["inconclusive"] else None


@dataclass(frozen=True)
class _Trial:
    """One gated ratio, before it is known what stands among all of them. ``old`` and ``new`` are logs, one a run."""

    name: str
    metric: str
    old: tuple[float, ...]
    new: tuple[float, ...]
    logs: Interval
    chance: float
    """Of seeing this where nothing regressed beyond the tolerance."""


def compare_runs(
    old: Sequence[SavedRun], new: Sequence[SavedRun], rules: Rules, noise: Noise
) -> RunComparison:
    """Each benchmark's greenup, speedup and qualities, OLD against NEW, with verdicts.

    Raises `RunsIncomparable` for runs of different machines or meters, and where no benchmark is on both sides.
    """
    refuse_incomparable([*old, *new])
    before, after = _by_name(old), _by_name(new)
    shared = [name for name in after if name in before]
    if not shared:
        raise RunsIncomparable(
            f"nothing to compare: none of the {len(after)} benchmarks of {_where(new)} "
            f"is among the {len(before)} of {_where(old)}"
        )
    hindrance = _joules_hindrance([*old, *new], rules)
    trials = {}
    for name in shared:
        for metric, quantity, _ in METRICS:
            if quantity == "joules" and hindrance is not None:
                continue
            trial = _trial(
                name,
                metric,
                _logs(before[name], quantity),
                _logs(after[name], quantity),
                noise,
                rules,
            )
            if trial is not None:
                trials[name, metric] = trial
    stands = dict(zip(trials, holm([trial.chance for trial in trials.values()], SUITE_ALPHA)))
    commit = next((run.commit for run in reversed(old) if run.commit), "")

    def change(name: str, metric: str, quantity: Quantity, unit: str) -> Change:
        points, trial = [*before[name], *after[name]], trials.get((name, metric))
        ratio, advice = None, ""
        if trial is not None:
            ratio = _ratio(trial.logs)
            verdict = against_tolerance(
                metric, ratio, rules.tolerance, _evidence(trial, new[0], rules)
            )
            verdict = _among(len(trials), verdict, trial, stands[name, metric])
            if quantity == "joules" and (coarse := _too_coarse(points, rules)):
                verdict = Verdict(metric, "inconclusive", coarse)
            elif verdict.verdict == "inconclusive":
                advice = _advice(trial, noise.sd(quantity), rules, len(trials), commit)
        elif quantity == "joules" and hindrance is not None:
            verdict = Verdict(metric, "not gated", hindrance)
        else:
            verdict = Verdict(
                metric,
                "inconclusive",
                f"the counter of {new[0].meter.name} did not move in some window",
            )
        old, now = (_value(_logs(side[name], quantity)) for side in (before, after))
        return Change(
            metric, unit, old, now, ratio, len(before[name]), len(after[name]), verdict, advice
        )

    def changes(name: str) -> Iterator[Change]:
        for metric in METRICS:
            yield change(name, *metric)
        yield from _qualities(before[name], after[name], rules)

    rows = [Row(name, tuple(changes(name))) for name in shared]
    rows += [
        _missing(name, 0, len(points), "not in the baseline")
        for name, points in after.items()
        if name not in before
    ]
    gone = "in the baseline, but not in the new run"
    rows += [
        _missing(name, len(points), 0, gone) for name, points in before.items() if name not in after
    ]
    rows.sort(key=lambda row: (row.severity, row.name))
    return RunComparison(tuple(old), tuple(new), tuple(rows), rules, noise, len(trials))


def compare_saved(old: str | Path, new: str | Path, last: int, rules: Rules) -> RunComparison:
    """Two files, or two folders of runs, of which the newest ``last`` count. Raises `RunError`, see `compare_runs`."""
    before, after = load_runs(old, last), load_runs(new, last)
    return compare_runs(before, after, rules, load_noise(after[0].machine, after[0].meter.name))


def compare_results(
    old: Sequence[SavedRun], results: Sequence[Result], rules: Rules
) -> RunComparison:
    """The results of a run that has just ended on this machine against saved runs. Raises `RunError`."""
    machine = fingerprint()
    new = boil_down(Run("this run", machine, tuple(results), {}, ""))
    return compare_runs(old, (new,), rules, load_noise(machine, new.meter.name))


def _by_name(runs: Sequence[SavedRun]) -> dict[str, list[Point]]:
    points: dict[str, list[Point]] = {}
    for run in runs:
        for name, point in run.points.items():
            points.setdefault(name, []).append(point)
    return points


def _where(runs: Sequence[SavedRun]) -> str:
    return runs[0].path if len(runs) == 1 else f"{runs[0].path} and {len(runs) - 1} more"


def _logs(points: Sequence[Point], quantity: Quantity) -> tuple[float | None, ...]:
    return tuple(
        point.log_seconds if quantity == "seconds" else point.log_joules for point in points
    )


def _joules_hindrance(runs: Sequence[SavedRun], rules: Rules) -> str | None:
    """Why joules must not decide here, or None."""
    if runs[0].meter.provenance == "measured":
        return None
    if not rules.gate_estimates:
        return NOT_GATED_ESTIMATE
    # What watts an estimate rests on stands in its notes.
    if len({run.meter.notes for run in runs}) > 1:
        return "joules are estimated, and not from the same watts in all runs"
    return None


def _trial(
    name: str,
    metric: str,
    before: tuple[float | None, ...],
    after: tuple[float | None, ...],
    noise: Noise,
    rules: Rules,
) -> _Trial | None:
    """None where some run has no figure."""
    old, new = (tuple(log for log in logs if log is not None) for logs in (before, after))
    if len(old) < len(before) or len(new) < len(after):
        return None
    limit = -math.log1p(rules.tolerance)
    if rank_can_tell(len(old), len(new), rules.alpha):
        return _Trial(
            name, metric, old, new, rank_shift(old, new, rules.alpha), rank_chance(old, new, limit)
        )
    known = noise.sd("joules" if metric == "greenup" else "seconds"), noise.runs
    return _Trial(
        name,
        metric,
        old,
        new,
        few_shift(old, new, *known, rules.alpha),
        few_chance(old, new, *known, limit),
    )


def _value(logs: Sequence[float | None]) -> float | None:
    known = [log for log in logs if log is not None]
    return math.exp(median(known)) if len(known) == len(logs) else None


def _ratio(logs: Interval) -> Interval:
    # Two doubles may be further apart than a double can tell.
    return exp_interval(
        Interval(*(max(-700.0, min(value, 700.0)) for value in (logs.value, logs.low, logs.high)))
    )


def _evidence(trial: _Trial, run: SavedRun, rules: Rules) -> str:
    whose = (
        f"; joules {run.meter.provenance} by {run.meter.name}" if trial.metric == "greenup" else ""
    )
    return f"{len(trial.old)} against {len(trial.new)} saved runs, each bound at {1 - rules.alpha:.0%}{whose}"


def _among(comparisons: int, verdict: Verdict, trial: _Trial, stands: bool) -> Verdict:
    if verdict.verdict != "regressed" or stands:
        return verdict
    return Verdict(
        verdict.metric,
        "inconclusive",
        f"{verdict.reason}: regressed taken alone (by chance in {trial.chance:.2g}), "
        f"but not among {comparisons} comparisons at {SUITE_ALPHA:.0%}",
    )


def _too_coarse(points: Sequence[Point], rules: Rules) -> str | None:
    worst = max(point.quantisation for point in points)
    if worst <= rules.tolerance * COUNTER_SHARE:
        return None
    return (
        f"counter: its own error is {worst:.1%} of a window, over a third of the tolerance of {rules.tolerance:.1%}; "
        "measure longer windows with --energy-max-time or a smaller --energy-quantisation"
    )


def _advice(trial: _Trial, noise_sd: float, rules: Rules, among: int, commit: str) -> str:
    """How many runs a side would settle it if they kept this spread, and the live command, which needs none."""
    live = f"pytest --energy --energy-against {commit[:12] or 'REV'} {shlex.quote(trial.name)}"
    limit = math.log1p(rules.tolerance)
    level = min(rules.alpha, SUITE_ALPHA / among)
    own_sd = pooled_sd(trial.old, trial.new)
    sd = noise_sd if own_sd is None else own_sd
    gap = min(abs(trial.logs.value - limit), abs(trial.logs.value + limit))
    quantile = NormalDist().inv_cdf(1 - level)
    spread_runs = (
        math.ceil(2 * (quantile * sd / gap) ** 2)
        if gap * MOST_RUNS > quantile * sd
        else MOST_RUNS + 1
    )
    runs = max(spread_runs, runs_for_rank(level), min(len(trial.old), len(trial.new)) + 1)
    if runs > MOST_RUNS:
        return f"more than {MOST_RUNS} runs a side would be needed; live: {live}"
    return f"about {runs} runs a side would settle it; live: {live}"


def _missing(name: str, old_runs: int, new_runs: int, reason: str) -> Row:
    verdict = Verdict("benchmark", "not gated", reason)
    return Row(name, (Change("benchmark", "", None, None, None, old_runs, new_runs, verdict),))


def _qualities(before: Sequence[Point], after: Sequence[Point], rules: Rules) -> Iterator[Change]:
    names = dict.fromkeys(
        name for points in (after, before) for point in points for name in point.qualities
    )
    for name in names:
        old, new = (
            [point.qualities[name] for point in points if name in point.qualities]
            for points in (before, after)
        )
        old_value, new_value = (
            median(side) if side and not any(map(math.isnan, side)) else None for side in (old, new)
        )
        verdict = _quality_verdict(name, old, new, rules)
        yield Change(name, "", old_value, new_value, None, len(old), len(new), verdict)


def _quality_verdict(
    name: str, old: Sequence[float], new: Sequence[float], rules: Rules
) -> Verdict:
    if not old or not new:
        return Verdict(
            name, "not gated", f"{name} is not in the {'new run' if old else 'baseline'}"
        )
    if any(map(math.isnan, new)):
        return Verdict(name, "regressed", f"{name} is not a number in the new run")
    if any(map(math.isnan, old)):
        return Verdict(name, "not gated", f"{name} is not a number in the baseline")
    tolerance, why = rules.quality_tolerance, "as asked"
    if tolerance is None:
        if not all(0 <= value <= 1 for value in (*old, *new)):
            return Verdict(
                name,
                "not gated",
                f"{name} is no share from 0 to 1, its sampling noise not known: give --quality-tolerance",
            )
        lost = math.ceil(-math.log2(rules.alpha)) - 1
        tolerance = lost / QUALITY_CASES
        why = f"the sampling noise of {QUALITY_CASES} cases, of which {lost} may go by chance; --quality-tolerance says otherwise"
    was, became = median(old), median(new)
    text = f"{name} {was:.4g} → {became:.4g} at a tolerance of {tolerance:.2g} ({why})"
    # 0.85 - 0.84 is 0.010000000000000009.
    beyond = abs(became - was) > tolerance * (1 + 1e-9)
    if not beyond:
        return Verdict(name, "unchanged", text)
    if became > was:
        return Verdict(name, "improved", text)
    if became >= min(old):
        return Verdict(
            name, "inconclusive", f"{text}: but the baseline's own runs go down to {min(old):.4g}"
        )
    return Verdict(name, "regressed", text)

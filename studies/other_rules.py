"""How often the gate errs on simulated windows, beside other tools' rules on the same windows.

Run by hand::

    python -m studies.other_rules            # about 5 minutes on one core; seeded
    python -m studies.other_rules 200        # 200 comparisons a row: quicker, coarser

A comparison is 5 seconds of a machine's life, cut into slots that each hold one window.
The machine changes a slot's time by:

- an AR(1) drift: 5 % SD, with a time constant of 3 s;
- steps of +10 % or -10 %, one in 5 s on average, that stay;
- spikes: 2 % of the slots take 10 to 100 % more;
- order: the second window of a pair takes 3 % more, or, in half the comparisons, the first;
- the window's own noise, which differs from row to row.

Ours is the package's own code: the coin, the blocks, `gps_up` and the gate, on a clock that the
windows advance. The other rules get the same 5 seconds as two batches, baseline first, with no
time between them: a kinder case than a stored baseline. Paired benchmatrix gets runs in turns,
as its own collector takes them.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log1p

import numpy as np
from scipy import stats

from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import comparison_of, take_blocks
from pytest_energy.model import ORDERS, Block, Domain, Measurement, MeterInfo, Result, Window
from pytest_energy.plan import Plan

SEED = 20250704
COMPARISONS = 400
SUITE = 20
PLAN = Plan()
WATTS = 20.0
# RAPL's lag of 1 ms makes the sensor's windows long. With the estimate only the speedup is gated,
# and windows are as short as measuring/paired.py allows.
ESTIMATE = MeterInfo("made-up estimate", "estimated", (Domain("package"),), 1e-6, 5e-6)
SENSOR = MeterInfo("made-up RAPL", "measured", (Domain("package"),), 1e-3, 6.1e-5)

DRIFT_SD, DRIFT_S = 0.05, 3.0
STEP, STEPS_PER_S = 0.10, 0.2
SPIKE_SHARE, SPIKE_LOW, SPIKE_HIGH = 0.02, 0.1, 1.0
SLOT_BIAS = 0.03


@dataclass(frozen=True)
class Machine:
    """One row: what is measured, and how noisily."""

    meter: MeterInfo
    window_s: float
    noise: float
    """SD of the logarithm of a window's seconds. Its joules vary with it, and as much again."""
    max_time_s: float = PLAN.max_time_s

    @property
    def label(self) -> str:
        what = "speedup and greenup" if self.meter.provenance == "measured" else "speedup"
        return (
            f"{1e3 * self.window_s:g} ms, noise {100 * self.noise:g} %, {what}, "
            f"{self.max_time_s:g} s"
        )

    def slots(self, comparisons: int, rng: np.random.Generator) -> np.ndarray:
        """Factors on the windows' seconds, (comparisons, slots): the slots of a factor of 1."""
        count = int(self.max_time_s / self.window_s)
        shape = comparisons, count
        keep = np.exp(-self.window_s / DRIFT_S)
        kicks = rng.normal(0, DRIFT_SD * np.sqrt(1 - keep**2), shape)
        kicks[:, 0] = rng.normal(0, DRIFT_SD, comparisons)
        logs = np.empty(shape)
        state = np.zeros(comparisons)
        for slot in range(count):
            state = keep * state + kicks[:, slot]
            logs[:, slot] = state
        logs += np.cumsum(
            rng.choice([-1, 1], shape)
            * log1p(STEP)
            * (rng.random(shape) < STEPS_PER_S * self.window_s),
            axis=1,
        )
        logs += np.log1p(rng.uniform(SPIKE_LOW, SPIKE_HIGH, shape)) * (
            rng.random(shape) < SPIKE_SHARE
        )
        pays = rng.integers(0, 2, (comparisons, 1))
        logs += log1p(SLOT_BIAS) * (np.arange(count)[None, :] % 2 == pays)
        return np.exp(logs + rng.normal(0, self.noise, shape))


def ours(
    machine: Machine,
    seconds: np.ndarray,
    joules_noise: np.ndarray,
    change: float,
    coin: random.Random,
) -> tuple[str, float]:
    """The verdict of the package's own code on one comparison, and when it came."""
    now_s, slot = 0.0, 0
    gate = Gate(tolerance=PLAN.tolerance)

    def take() -> Block:
        nonlocal now_s, slot
        order, windows = coin.choice(ORDERS), []
        for letter in order:
            took_s = (
                machine.window_s * float(seconds[slot]) * (1 + change if letter == "B" else 1.0)
            )
            windows.append(
                Window(took_s, {"package": WATTS * took_s * float(joules_noise[slot])}, 1)
            )
            now_s, slot = now_s + took_s, (slot + 1) % len(seconds)
        return Block(order, tuple(windows))

    plan = replace(PLAN, max_time_s=machine.max_time_s)
    blocks = take_blocks(
        take, machine.meter, plan, lambda ratios: gate.decided(ratios, machine.meter), lambda: now_s
    )
    comparison = comparison_of("baseline", blocks, machine.meter, PLAN.alpha)
    measurement = Measurement("made up", machine.meter, blocks[0].windows)
    verdicts = [each.verdict for each in gate.judge(Result("made up", measurement, comparison))]
    for name in ("regressed", "improved", "inconclusive"):
        if name in verdicts:
            return name, now_s
    return "unchanged", now_s


def of_ours(
    machine: Machine, slots: np.ndarray, change: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng, coin = np.random.default_rng([seed, 1]), random.Random(seed)
    noise = np.exp(rng.normal(0, machine.noise, slots.shape))
    verdicts, times_s = zip(
        *(ours(machine, slots[i], noise[i], change, coin) for i in range(len(slots))), strict=True
    )
    return np.array(verdicts), np.array(times_s)


# The other rules: from the baseline's and the candidate's windows, each (comparisons, slots), to
# whether the rule alarms.
Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mean_rule(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """pytest-benchmark: --benchmark-compare-fail=mean:5%."""
    return new.mean(axis=1) > 1.05 * old.mean(axis=1)


def mann_whitney(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The candidate's windows above 1.025 x the baseline's, one-sided at 1 %."""
    return (
        stats.mannwhitneyu(
            new, 1.025 * old, alternative="greater", axis=1, method="asymptotic"
        ).pvalue
        < 0.01
    )


# criterion.rs, src/analysis/compare.rs, with its defaults: 100 samples a side, p < 0.05 by a
# bootstrapped t (both sides pooled), and the 95 % bootstrap interval of the means' ratio beyond the
# noise threshold of 1 %. It draws 100 000 resamples; fewer change the shares by less than their
# own error.
CRITERION_SAMPLES, CRITERION_RESAMPLES, CRITERION_NOISE = 100, 4000, 0.01


def criterion(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    old, new = (
        _in_groups(side, min(CRITERION_SAMPLES, side.shape[1])).mean(axis=2) for side in (old, new)
    )
    n, rng = old.shape[1], np.random.default_rng(SEED)
    weights = [rng.multinomial(n, np.full(n, 1 / n), CRITERION_RESAMPLES).T / n for _ in range(2)]
    ratios = (new @ weights[0]) / (old @ weights[1]) - 1
    low = np.quantile(ratios, 0.025, axis=1)
    pooled = np.concatenate([new, old], axis=1)
    pooled = pooled - pooled.mean(axis=1, keepdims=True)  # or the variances below cancel badly
    of_both = [
        rng.multinomial(n, np.full(2 * n, 1 / (2 * n)), CRITERION_RESAMPLES).T / n for _ in range(2)
    ]
    means, squares = [pooled @ w for w in of_both], [pooled**2 @ w for w in of_both]
    errors = [
        np.maximum(square - mean**2, 1e-300) / (n - 1) for mean, square in zip(means, squares)
    ]
    drawn = (means[0] - means[1]) / np.sqrt(errors[0] + errors[1])
    seen = (new.mean(axis=1) - old.mean(axis=1)) / np.sqrt(
        (new.var(axis=1) + old.var(axis=1)) / (n - 1)
    )
    p = 2 * np.minimum((drawn < seen[:, None]).mean(axis=1), (drawn > seen[:, None]).mean(axis=1))
    return (p < 0.05) & (low > CRITERION_NOISE)


# benchmatrix 1.2.1: the ratio of the medians of whole runs' medians, with a 95 % BCa bootstrap over
# pairs of runs (50 000 resamples there); regressed if the interval lies beyond 5 %. It asks for 5
# runs a side and gets 10 here.
BENCHMATRIX_PAIRS, BENCHMATRIX_RESAMPLES = 10, 2000


def benchmatrix(old: np.ndarray, new: np.ndarray, threshold: float) -> np.ndarray:
    """``old`` and ``new`` are the medians of paired runs: (comparisons, pairs)."""
    n, rng = old.shape[1], np.random.default_rng(SEED)
    draws = rng.integers(0, n, (BENCHMATRIX_RESAMPLES, n))
    seen = np.median(new, axis=1) / np.median(old, axis=1)
    left_out = np.array([[j for j in range(n) if j != i] for i in range(n)])
    alarms = []
    for a, b, value in zip(old, new, seen):
        ratios = np.sort(np.median(b[draws], axis=1) / np.median(a[draws], axis=1))
        share = ((ratios < value).sum() + 0.5 * (ratios == value).sum()) / len(ratios)
        bias = stats.norm.ppf(np.clip(share, 0.5 / len(ratios), 1 - 0.5 / len(ratios)))
        jackknife = np.median(b[left_out], axis=1) / np.median(a[left_out], axis=1)
        gaps = jackknife.mean() - jackknife
        squares = (gaps**2).sum()
        skew = (gaps**3).sum() / (6 * squares**1.5) if squares > 0 else 0.0
        z = bias + stats.norm.ppf(0.025)
        alarms.append(
            np.quantile(ratios, stats.norm.cdf(bias + z / (1 - skew * z))) > 1 + threshold
        )
    return np.array(alarms)


def _in_groups(side: np.ndarray, groups: int) -> np.ndarray:
    size = side.shape[1] // groups
    return side[:, : groups * size].reshape(len(side), groups, size)


def batches(slots: np.ndarray, change: float) -> tuple[np.ndarray, np.ndarray]:
    middle = slots.shape[1] // 2
    return slots[:, :middle], slots[:, middle : 2 * middle] * (1 + change)


def runs_in_turns(slots: np.ndarray, change: float) -> tuple[np.ndarray, np.ndarray]:
    """Medians of runs taken AB, BA, AB, ...: (comparisons, pairs) of either side."""
    runs = np.median(_in_groups(slots, 2 * BENCHMATRIX_PAIRS), axis=2).reshape(
        len(slots), BENCHMATRIX_PAIRS, 2
    )
    turned = np.where(np.arange(BENCHMATRIX_PAIRS)[None, :, None] % 2 == 1, runs[:, :, ::-1], runs)
    return turned[:, :, 0], turned[:, :, 1] * (1 + change)


def suite_share(alarms: float) -> float:
    """How probable one alarm or more is among 20 comparisons that have nothing in common."""
    return 1 - (1 - alarms) ** SUITE


MACHINES = (
    Machine(ESTIMATE, 0.002, 0.01),
    Machine(ESTIMATE, 0.002, 0.03),
    Machine(ESTIMATE, 0.002, 0.10),
    Machine(ESTIMATE, 0.01, 0.01),
    Machine(ESTIMATE, 0.01, 0.03),
    Machine(ESTIMATE, 0.01, 0.05),
    Machine(SENSOR, 0.075, 0.005),
    Machine(SENSOR, 0.075, 0.01),
    Machine(SENSOR, 0.075, 0.005, 15.0),
    Machine(SENSOR, 0.075, 0.01, 15.0),
)
BESIDE = (Machine(ESTIMATE, 0.002, 0.03), Machine(ESTIMATE, 0.01, 0.03))


def table_of_ours(comparisons: int) -> None:
    print(
        f"Ours, tolerance {PLAN.tolerance:.0%}, alpha {PLAN.alpha:.0%}, {PLAN.max_time_s:g} s at "
        f"most; {comparisons} comparisons a cell"
    )
    print("  alarms: regressed or improved at +0 %; at the tolerance: all but inconclusive")
    print(
        f"  {'window':44s} {'alarms':>7s} {'+5 % found':>10s} {'wrong':>6s} {'at tol.':>8s}"
        f" {'s, median (9 in 10), +0 %':>25s} {'+5 %':>13s}"
    )
    all_alarms = all_at_edge = 0
    for number, machine in enumerate(MACHINES):
        slots = machine.slots(comparisons, np.random.default_rng([SEED, number]))
        same, same_s = of_ours(machine, slots, 0.0, SEED + number)
        slower, slower_s = of_ours(machine, slots, 0.05, SEED + number)
        edge, _ = of_ours(machine, slots, PLAN.tolerance, SEED + number)
        alarms = int(np.isin(same, ["regressed", "improved"]).sum())
        all_alarms += alarms
        all_at_edge += int((edge != "inconclusive").sum())
        times = [f"{np.median(t):.2f} ({np.quantile(t, 0.9):.2f})" for t in (same_s, slower_s)]
        shares = (
            (slower == "regressed").mean(),
            np.isin(slower, ["unchanged", "improved"]).mean(),
            (edge != "inconclusive").mean(),
        )
        print(
            f"  {machine.label:44s} {alarms / comparisons:7.2%} {shares[0]:10.1%} {shares[1]:6.2%} "
            f"{shares[2]:8.2%} {times[0]:>25s} {times[1]:>13s}",
            flush=True,
        )
    every = len(MACHINES) * comparisons
    print(
        f"  all rows: {all_alarms} alarms in {every}; "
        f"at the tolerance itself {all_at_edge} verdicts, {all_at_edge / every:.2%}"
    )


def table_beside(comparisons: int) -> None:
    print(
        f"\nOther rules on the same windows; {comparisons} comparisons a cell: alarms at +0 %, "
        f"in a suite of {SUITE}, alarms at +3 %, +5 % found"
    )
    rules: dict[str, Rule] = {
        "pytest-benchmark, mean:5%": mean_rule,
        "criterion, 1 % noise threshold": criterion,
        "Mann-Whitney x 1.025, 1 %": mann_whitney,
    }
    for machine in BESIDE:
        seed = SEED + MACHINES.index(machine)
        slots = machine.slots(comparisons, np.random.default_rng([SEED, MACHINES.index(machine)]))
        print(f"  {machine.label}")

        def row(name: str, shares: list[float]) -> None:
            cells = (shares[0], suite_share(shares[0]), *shares[1:])
            print(f"    {name:44s} " + " ".join(f"{cell:7.1%}" for cell in cells), flush=True)

        changes = (0.0, PLAN.tolerance, 0.05)
        ours_now = [of_ours(machine, slots, change, seed)[0] for change in changes]
        row("ours", [float((verdicts == "regressed").mean()) for verdicts in ours_now])
        for name, rule in rules.items():
            row(name, [float(rule(*batches(slots, change)).mean()) for change in changes])
        for threshold in (0.05, 0.03):
            name = f"benchmatrix, {BENCHMATRIX_PAIRS} pairs of runs in turns, {threshold:.0%}"
            row(
                name,
                [
                    float(benchmatrix(*runs_in_turns(slots, change), threshold).mean())
                    for change in changes
                ],
            )


def main() -> None:
    comparisons = int(sys.argv[1]) if len(sys.argv) > 1 else COMPARISONS
    began = time.perf_counter()
    table_of_ours(comparisons)
    table_beside(comparisons)
    print(f"\n{time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

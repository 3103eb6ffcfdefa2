"""A suite of 200 tests at the tolerance itself: how many runs have a false alarm, and the price.

Run by hand::

    python -m studies.suite_alpha_study         # about two minutes; seeded

Each test has one gated ratio. Its code is slower by exactly the tolerance, so `regressed` is wrong,
and as likely as it can be. Up to 400 blocks, looked at after each. Then the blocks (median) until
+5 % is called at a tolerance of 3 %, for a test alone and for one of 200.
"""

from __future__ import annotations

import math

import numpy as np

from pytest_energy.plan import SUITE_ALPHA, Plan
from studies.gate_simulator import BLOCKS, NOISES, SEED, blocks_to, bounds, log_ratios

TESTS, RUNS = 200, 100
TOLERANCE, CHANGE = 0.03, 0.05


def regressed(ratios: dict[str, np.ndarray], limit: float, alpha: float) -> np.ndarray:
    """Whether it is regressed after each block: both statistics, each at half of alpha."""
    below = [bounds(ratios[name], limit, alpha / 2)[1] for name in ("together", "smaller")]
    return below[0] | below[1]


def main() -> None:
    plan = Plan()
    shared = plan.as_one_of(TESTS, SUITE_ALPHA)
    print(f"{RUNS} runs of {TESTS} tests at the tolerance: runs with a false alarm")
    print(f"  alone: alpha {plan.alpha:.2%}; shared: alpha {shared.least_alpha:.3%} for an alarm")
    print(f"{'noise':16} {'alone':>7} {'shared':>7} | blocks to +5 %: {'alone':>6} {'shared':>6}")
    for name, noise in NOISES.items():
        rng = np.random.default_rng(SEED)
        false: dict[float, int] = {plan.alpha: 0, shared.least_alpha: 0}
        found: dict[float, list[np.ndarray]] = {alpha: [] for alpha in false}
        for run in range(RUNS):
            logs = noise(rng, (TESTS, BLOCKS, 4))
            ratios = log_ratios(logs, rng.random((TESTS, BLOCKS)) < 0.5)
            for alpha in false:
                # In terms of baseline over candidate less the truth, the tolerance is at 0.
                false[alpha] += bool(regressed(ratios, 0.0, alpha).any())
                if run == 0:
                    gap = math.log1p(CHANGE) - math.log1p(TOLERANCE)
                    found[alpha].append(regressed(ratios, gap, alpha))
        print(
            f"{name:16} "
            + " ".join(f"{count / RUNS:7.0%}" for count in false.values())
            + f" | {'':15} "
            + " ".join(f"{blocks_to(each[0]):>6}" for each in found.values()),
            flush=True,
        )


if __name__ == "__main__":
    main()

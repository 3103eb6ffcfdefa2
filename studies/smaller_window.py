"""A side's value in a block: its two windows together, the smaller one, or both at half the alpha.

Run by hand::

    python -m studies.smaller_window            # about a minute; seeded

The noise of a block's four windows does not know the coin. Per kind of noise and statistic, of
4000 comparisons of up to 400 blocks:

- missed: the interval ever excludes the truth (1 % allowed);
- wrong: code that is slower by exactly the tolerance is ever called regressed (0.5 % allowed);
- the blocks (median) until unchanged code is unchanged, and slower code regressed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pytest_energy.stats.order_statistics import _rejected_ends

SEED, COMPARISONS, BLOCKS, ALPHA = 20251127, 4000, 400, 0.01
# A tolerance, and a change to be found beyond it.
CASES = ((0.005, 0.01), (0.03, 0.05))
STATISTICS = ("together", "smaller", "both")


def spikes(share: float) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    """A neighbour's time slices: a share of the windows takes up to three times as long."""

    def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        hit = rng.random(shape) < share
        return rng.normal(0, 0.01, shape) + hit * np.log1p(rng.uniform(0.1, 2.0, shape))

    return noise


def autoregressive(keep: float) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        kicks = rng.normal(0, 0.02, (shape[0], shape[1] * shape[2]))
        logs = np.zeros_like(kicks)
        for window in range(1, kicks.shape[1]):
            logs[:, window] = keep * logs[:, window - 1] + kicks[:, window]
        return logs.reshape(shape)

    return noise


def drift(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    steps = rng.normal(0, 0.01, (shape[0], shape[1] * shape[2]))
    slope = np.linspace(0, 0.5, shape[1] * shape[2])
    return (np.cumsum(steps, axis=1) * 0.3 + slope).reshape(shape)


NOISES = {
    "Gaussian, 2 %": lambda rng, shape: rng.normal(0, 0.02, shape),
    "AR(1) of 0.5": autoregressive(0.5),
    "AR(1) of 0.9": autoregressive(0.9),
    "drift": drift,
    "bimodal, 20 %": lambda rng, shape: (
        rng.normal(0, 0.01, shape) + 0.2 * (rng.random(shape) < 0.5)
    ),
    "spikes, 2 %": spikes(0.02),
    "spikes, 10 %": spikes(0.10),
    "spikes, 25 %": spikes(0.25),
}


def log_ratios(logs: np.ndarray, baseline_first: np.ndarray) -> dict[str, np.ndarray]:
    """Per statistic, the blocks' log-ratios of code that is equal: (comparisons, blocks)."""
    outer, inner = np.exp(logs[..., [0, 3]]), np.exp(logs[..., [1, 2]])
    sign = np.where(baseline_first, 1.0, -1.0)
    return {
        "together": sign * np.log(outer.sum(-1) / inner.sum(-1)),
        "smaller": sign * np.log(outer.min(-1) / inner.min(-1)),
    }


def bounds(values: np.ndarray, limit: float, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether the sequence lies wholly above the limit, or wholly below, after each block."""
    drop = np.array([_rejected_ends(n, alpha) for n in range(1, values.shape[1] + 1)])
    above = np.cumsum(values <= limit, axis=1) <= drop
    below = np.cumsum(values >= limit, axis=1) <= drop
    return above, below


def sides(
    ratios: dict[str, np.ndarray], statistic: str, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    if statistic != "both":
        return bounds(ratios[statistic], limit, ALPHA)
    halves = [bounds(ratios[name], limit, ALPHA / 2) for name in ("together", "smaller")]
    return halves[0][0] | halves[1][0], halves[0][1] | halves[1][1]


def blocks_to(decided: np.ndarray) -> str:
    first = np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, BLOCKS * 10)
    median = np.median(first)
    return f"{median:5.0f}" if median <= BLOCKS else f" >{BLOCKS}"


def main() -> None:
    print(f"{'noise':16} {'statistic':10} {'missed':>7} {'wrong':>7}", end="")
    for tolerance, change in CASES:
        print(f" | {tolerance:.1%}: {'+0 %':>6} {f'+{change:.0%}':>6}", end="")
    print()
    for name, noise in NOISES.items():
        rng = np.random.default_rng(SEED)
        logs = noise(rng, (COMPARISONS, BLOCKS, 4))
        ratios = log_ratios(logs, rng.random((COMPARISONS, BLOCKS)) < 0.5)
        for statistic in STATISTICS:
            # At the tolerance itself, regressed means that the interval lies below the truth.
            above, below = sides(ratios, statistic, 0.0)
            print(
                f"{name:16} {statistic:10} {(above | below).any(axis=1).mean():7.2%} "
                f"{below.any(axis=1).mean():7.2%}",
                end="",
            )
            for tolerance, change in CASES:
                limit = math.log1p(tolerance)
                over, _ = sides(ratios, statistic, -limit)
                _, under = sides(ratios, statistic, limit)
                _, found = sides(ratios, statistic, math.log1p(change) - limit)
                print(f" | {'':5} {blocks_to(over & under):>6} {blocks_to(found):>6}", end="")
            print(flush=True)


if __name__ == "__main__":
    main()

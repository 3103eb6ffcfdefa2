"""Which value a side has in a block, and in a start of both processes: simulated.

Run by hand::

    python -m studies.gate_simulator            # about a minute; seeded
    python -m studies.gate_simulator 400        # 400 comparisons a row: quicker, coarser

The noise of the windows does not know the coin. First a comparison in one process, of up to 400
blocks: the blocks (median) until equal code is unchanged, and slower code regressed. Then one
across processes, of up to 33 starts of 24 blocks: the shares in which that happens, and the starts
until then (medians). Of either:

- how often the interval ever excludes the truth (1 % allowed);
- how often code that is slower by exactly the tolerance is regressed (0.5 % allowed).

Last, pairs of processes that take turns.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np

from pytest_energy.commits.starts import looks
from pytest_energy.stats.gps_up import LOOKS_AT_STARTS
from pytest_energy.stats.order_statistics import _rejected_ends, _rejected_rank_sum

SEED, COMPARISONS, ALPHA = 20251127, 2000, 0.01
BLOCKS = 400
# A tolerance, and a change to be found beyond it.
CASES = ((0.005, 0.01), (0.03, 0.05))
# Two memory layouts of equal code differ by 1 % (SD).
LOOKS, BLOCKS_OF_A_START, LAYOUT_SD = looks(ALPHA, ALPHA), 24, 0.01
STARTS = LOOKS[-1]
TOLERANCE, CHANGE = 0.03, 0.05
# Layouts of Python's dictionaries, of objects, and with random hash seeds; a start's own noise.
LAYOUT_SDS, START_SD, TURNS = (0.006, 0.0095, 0.014), 0.0075, 3
SLOWER = (0.03, 0.035, 0.04, 0.05, 0.06)
OF_BLOCKS = ("together", "smaller", "by spread", "both")
OF_STARTS = ("together", "smaller", "quartile", "dropped", "both")
# `by spread` looks once, after the fewest blocks for a verdict. The mean gap between a side's two
# windows is 1.2 times the median gap if the noise is Gaussian, and more if spikes hit some.
FIRST_BLOCKS, HEAVY = 12, 1.5
# `dropped` leaves out blocks whose windows differ by more.
SPIKE = 0.05

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Ratios = dict[str, np.ndarray]


def spikes(share: float) -> Noise:
    """A neighbour's time slices: a share of the windows takes up to three times as long."""

    def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        hit = rng.random(shape) < share
        return rng.normal(0, 0.01, shape) + hit * np.log1p(rng.uniform(0.1, 2.0, shape))

    return noise


def bursts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A neighbour that comes and goes: half of the time, half of the windows are hit."""
    logs = spikes(0.5)(rng, shape)
    quiet = rng.normal(0, 0.01, shape)
    # Both states last 25 blocks on average.
    turns = rng.random(shape[:2]) < 1 / 25
    busy = (np.cumsum(turns, axis=1) + rng.integers(0, 2, (shape[0], 1))) % 2 == 1
    return np.where(busy[:, :, None], logs, quiet)


def autoregressive(keep: float) -> Noise:
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


NOISES: dict[str, Noise] = {
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
    "bursts": bursts,
}


def log_ratios(logs: np.ndarray, baseline_first: np.ndarray) -> Ratios:
    """Per statistic, the blocks' log-ratios of code that is equal: (comparisons, blocks)."""
    outer, inner = np.exp(logs[..., [0, 3]]), np.exp(logs[..., [1, 2]])
    sign = np.where(baseline_first, 1.0, -1.0)
    return {
        "together": sign * np.log(outer.sum(-1) / inner.sum(-1)),
        "smaller": sign * np.log(outer.min(-1) / inner.min(-1)),
    }


def by_spread(logs: np.ndarray, ratios: Ratios) -> np.ndarray:
    """One of the two statistics, chosen once by the gaps between the windows of each side.

    A gap is the same for either coin and for any true ratio. Given the disturbances the choice is
    fixed, and either statistic keeps its alpha. The log-ratios' own spread would depend on both.
    """
    first = logs[:, :FIRST_BLOCKS]
    gaps = np.abs(np.stack([first[..., 0] - first[..., 3], first[..., 1] - first[..., 2]], -1))
    gaps = gaps.reshape(len(logs), -1)
    heavy = gaps.mean(axis=1) > HEAVY * np.median(gaps, axis=1)
    return np.where(heavy[:, None], ratios["smaller"], ratios["together"])


def of_starts(logs: np.ndarray, baseline_first: np.ndarray) -> Ratios:
    """Per statistic, one value per start, from logs of (comparisons, starts, blocks, 4)."""
    ratios = log_ratios(logs, baseline_first)
    outer, inner = logs[..., [0, 3]], logs[..., [1, 2]]
    first = baseline_first[..., None]
    shape = (*logs.shape[:2], -1)
    sides = [
        np.where(first, one, other).reshape(shape)
        for one, other in ((outer, inner), (inner, outer))
    ]
    low = [np.quantile(side, 0.25, axis=2) for side in sides]
    quiet = logs.max(axis=-1) - logs.min(axis=-1) < SPIKE
    # Without a quiet block, all count.
    quiet |= ~quiet.any(axis=2, keepdims=True)
    return {
        "together": np.median(ratios["together"], axis=2),
        "smaller": np.median(ratios["smaller"], axis=2),
        "quartile": low[0] - low[1],
        "dropped": np.nanmedian(np.where(quiet, ratios["together"], np.nan), axis=2),
    }


def bounds(values: np.ndarray, limit: float, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether the sequence lies wholly above the limit, or wholly below, after each value."""
    drop = np.array([_rejected_ends(n, alpha) for n in range(1, values.shape[1] + 1)])
    above = np.cumsum(values <= limit, axis=1) <= drop
    below = np.cumsum(values >= limit, axis=1) <= drop
    return above, below


def bounds_of_starts(
    values: np.ndarray, limit: float, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the signed-rank interval lies wholly above the limit, or below, at each look."""
    above, below = [], []
    for look in LOOKS:
        least = _rejected_rank_sum(look, alpha / LOOKS_AT_STARTS)
        over = values[:, :look] - limit
        ranks = np.abs(over).argsort(axis=1).argsort(axis=1) + 1
        above.append((ranks * (over < 0)).sum(axis=1) <= least)
        below.append((ranks * (over > 0)).sum(axis=1) <= least)
    return np.stack(above, axis=1), np.stack(below, axis=1)


Bounds = Callable[[np.ndarray, float, float], tuple[np.ndarray, np.ndarray]]


def sides(
    ratios: Ratios, statistic: str, limit: float, of: Bounds = bounds
) -> tuple[np.ndarray, np.ndarray]:
    if statistic != "both":
        return of(ratios[statistic], limit, ALPHA)
    halves = [of(ratios[name], limit, ALPHA / 2) for name in ("together", "smaller")]
    return halves[0][0] | halves[1][0], halves[0][1] | halves[1][1]


def blocks_to(decided: np.ndarray) -> str:
    first = np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, BLOCKS * 10)
    median = np.median(first)
    return f"{median:5.0f}" if median <= BLOCKS else f" >{BLOCKS}"


def starts_to(decided: np.ndarray) -> str:
    """The share that is decided, and after how many starts half of the comparisons are."""
    share = decided.any(axis=1).mean()
    if share <= 0.5:
        return f"{share:5.0%}   -"
    look = int((decided.cumsum(axis=1) > 0).mean(axis=0).searchsorted(0.5))
    return f"{share:5.0%} {LOOKS[look]:3}"


def errors(ratios: Ratios, statistic: str, of: Bounds = bounds) -> np.ndarray:
    """The shares of comparisons that miss the truth, and that call the tolerance regressed.

    In terms of baseline over candidate less the truth, the tolerance is at 0.
    """
    above, below = sides(ratios, statistic, 0.0, of)
    return np.array([(above | below).any(axis=1).mean(), below.any(axis=1).mean()])


def unchanged_and_found(
    ratios: Ratios, statistic: str, tolerance: float, change: float, of: Bounds = bounds
) -> tuple[np.ndarray, np.ndarray]:
    """Whether equal code is unchanged, and slower code regressed, after each value."""
    limit = math.log1p(tolerance)
    over, _ = sides(ratios, statistic, -limit, of)
    _, under = sides(ratios, statistic, limit, of)
    _, found = sides(ratios, statistic, math.log1p(change) - limit, of)
    return over & under, found


def head(title: str, names: tuple[str, ...], width: int = 11) -> None:
    print(f"{title:16}" + "".join(f" {name:>{width}}" for name in names))


def table_of_blocks(comparisons: int) -> None:
    for tolerance, change in CASES:
        head(f"{tolerance:.1%}: 0, +{change:.0%}", OF_BLOCKS)
        shares: dict[str, list[np.ndarray]] = {statistic: [] for statistic in OF_BLOCKS}
        for name, noise in NOISES.items():
            rng = np.random.default_rng(SEED)
            logs = noise(rng, (comparisons, BLOCKS, 4))
            ratios = log_ratios(logs, rng.random((comparisons, BLOCKS)) < 0.5)
            ratios["by spread"] = by_spread(logs, ratios)
            cells = []
            for statistic in OF_BLOCKS:
                shares[statistic].append(errors(ratios, statistic))
                decided = unchanged_and_found(ratios, statistic, tolerance, change)
                cells.append(" ".join(map(blocks_to, decided)))
            print(f"{name:16} " + " ".join(cells), flush=True)
    print_errors(shares)


def balanced(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """In each start, half of the blocks in one order and half in the other, shuffled."""
    return rng.permuted(np.broadcast_to(np.arange(shape[-1]) % 2 == 0, shape), axis=-1)


def table_of_starts(comparisons: int) -> None:
    head(f"\n{TOLERANCE:.0%}: 0, +{CHANGE:.0%}", OF_STARTS, 19)
    shares: dict[str, list[np.ndarray]] = {statistic: [] for statistic in OF_STARTS}
    for name, noise in NOISES.items():
        rng = np.random.default_rng(SEED)
        shape = (comparisons, STARTS, BLOCKS_OF_A_START)
        logs = noise(rng, (comparisons, STARTS * BLOCKS_OF_A_START, 4)).reshape(*shape, 4)
        ratios = of_starts(logs, balanced(rng, shape))
        layout = rng.normal(0, LAYOUT_SD, shape[:2])
        ratios = {statistic: values + layout for statistic, values in ratios.items()}
        cells = []
        for statistic in OF_STARTS:
            shares[statistic].append(errors(ratios, statistic, bounds_of_starts))
            decided = unchanged_and_found(ratios, statistic, TOLERANCE, CHANGE, bounds_of_starts)
            cells.append(" ".join(map(starts_to, decided)))
        print(f"{name:16} " + " ".join(cells), flush=True)
    print_errors(shares, 19)


def print_errors(shares: dict[str, list[np.ndarray]], width: int = 11) -> None:
    """Missed and wrong: the most of a row, and of all rows."""
    for title, of_rows in (("most errors", np.max), ("all rows", np.mean)):
        cells = [of_rows(np.array(rows), axis=0) for rows in shares.values()]
        texts = (f"{missed:5.2%} {wrong:5.2%}" for missed, wrong in cells)
        print(f"{title:16}" + "".join(f" {text:>{width}}" for text in texts))


def table_of_turns(comparisons: int) -> None:
    """How often three pairs that take turns call slower code unchanged: each start has one pair's
    layout."""
    print(f"\n{TURNS} pairs in turns: unchanged where the code is slower by")
    print(f"{'SD of layouts':16}" + "".join(f" {f'+{change:.1%}':>7}" for change in SLOWER))
    for layout_sd in LAYOUT_SDS:
        rng = np.random.default_rng(SEED)
        pairs = rng.normal(0, layout_sd, (comparisons, TURNS))
        noise = rng.normal(0, START_SD, (comparisons, STARTS))
        values = noise + np.tile(pairs, math.ceil(STARTS / TURNS))[:, :STARTS]
        cells = []
        for change in SLOWER:
            ratios = {"alone": values + math.log1p(change)}
            unchanged, _ = unchanged_and_found(ratios, "alone", TOLERANCE, CHANGE, bounds_of_starts)
            cells.append(f" {unchanged.any(axis=1).mean():7.2%}")
        print(f"{layout_sd:<16.2%}" + "".join(cells))


def main() -> None:
    comparisons = int(sys.argv[1]) if len(sys.argv) > 1 else COMPARISONS
    table_of_blocks(comparisons)
    table_of_starts(comparisons)
    table_of_turns(10 * comparisons)


if __name__ == "__main__":
    main()

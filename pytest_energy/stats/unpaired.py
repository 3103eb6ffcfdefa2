"""Two sets of runs that were not taken in turns, compared on the log scale.

One float is one run. The windows of a run share the state of the machine in that minute, so they
say nothing about the next run: only the spread between runs does.

- `rank_shift`: exact bounds by order statistics on the shift between two sets (Mann-Whitney, with
  the estimate of Hodges and Lehmann). It assumes that a change shifts the logarithms and keeps
  their spread, and that runs are independent. It assumes no distribution, and one odd run does not
  move it. It needs 5 runs a side for 1 %, or 10 against 3.
- `t_shift`: a t bound, by the standard errors that it is given. `moderated.py` has that of a suite;
  `noise_errors` those of fewer runs or benchmarks, where no bound is narrower than by the machine's
  noise: two or three runs that happen to agree say little about the next.

Rejected: Welch's t. It finds fewer true changes, and its bound at 99 % fails in 3 to 6 % of
simulated comparisons (docs/gate.md, "Across saved runs"). Unequal spreads, its one advantage,
matter little here: both sides are the same code on the same machine, or a shift of it.

No bound here detects runs that depend on each other, such as ten in one hour. Spread runs out.

Bounds are one-sided, each at 1 - alpha, because each verdict rests on one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, median
from typing import NamedTuple

from pytest_energy.model import Interval


def rank_can_tell(old_runs: int, new_runs: int, alpha: float) -> bool:
    """Whether `rank_shift` has finite bounds for so many runs at this level."""
    return old_runs > 0 and new_runs > 0 and alpha * math.comb(old_runs + new_runs, old_runs) >= 1


def runs_for_rank(alpha: float) -> int:
    """The fewest runs a side for finite bounds of `rank_shift`: 5 at 1 %, 7 at 0.1 %."""
    runs = 1
    while not rank_can_tell(runs, runs, alpha):
        runs += 1
    return runs


def rank_shift(old: Sequence[float], new: Sequence[float], alpha: float) -> Interval:
    """How far ``old`` lies above ``new``: the median of all differences, each bound at 1 - alpha.

    Source: Hodges and Lehmann, Estimates of location based on rank tests, 1963; bounds from the
    exact distribution of Mann-Whitney's U.
    """
    differences = sorted(a - b for a in old for b in new)
    drop = _highest_tail(len(old), len(new), alpha)
    if drop < 0:
        return Interval(median(differences), -math.inf, math.inf)
    return Interval(median(differences), differences[drop], differences[-1 - drop])


def rank_chance(old: Sequence[float], new: Sequence[float], limit: float) -> float:
    """The probability to see ``old`` this low if it lies above ``new`` by ``limit`` or more.

    Ties count against the finding, so the probability is never too small.
    """
    below = sum(a - b < limit for a in old for b in new)
    return _tails(len(old), len(new))[len(old) * len(new) - below]


class StandardError(NamedTuple):
    """Of a difference of means."""

    value: float
    freedom: int | None
    """Its degrees of freedom. None: it is known exactly."""


def t_shift(
    old: Sequence[float], new: Sequence[float], errors: Sequence[StandardError], alpha: float
) -> Interval:
    """How far ``old`` lies above ``new``, by the widest of some errors; each bound at 1 - alpha."""
    shift = fmean(old) - fmean(new)
    width = max(
        student_t_quantile(1 - alpha, error.freedom) * error.value if error.value > 0 else 0.0
        for error in errors
    )
    return Interval(shift, shift - width, shift + width)


def t_chance(
    old: Sequence[float], new: Sequence[float], errors: Sequence[StandardError], limit: float
) -> float:
    """Like `rank_chance`, for `t_shift`."""
    gap = limit - (fmean(old) - fmean(new))
    if gap <= 0:
        return 1.0
    return max(
        1 - student_t_cdf(gap / error.value, error.freedom) if error.value > 0 else 0.0
        for error in errors
    )


def mean_error(
    old: Sequence[float], new: Sequence[float], sd: float, freedom: int | None
) -> StandardError:
    """The standard error of the difference of means, where one run has this spread."""
    return StandardError(sd * math.sqrt(1 / len(old) + 1 / len(new)), freedom)


def noise_errors(
    old: Sequence[float], new: Sequence[float], noise_sd: float, noise_runs: int | None
) -> list[StandardError]:
    """For too few runs for ranks: by the machine's noise, and by the runs themselves.

    ``noise_sd`` is the standard deviation between single runs on this machine, estimated from
    ``noise_runs`` runs (None: known exactly).
    """
    freedom = None if noise_runs is None else noise_runs - 1
    single = min(len(old), len(new)) == 1
    # Against a single run the noise counts as between two single runs, however many the other side
    # has: its runs may all be of one quiet hour.
    errors = [mean_error(old[:1] if single else old, new[:1] if single else new, noise_sd, freedom)]
    own_sd = pooled_sd(old, new)
    if own_sd is not None:
        errors.append(mean_error(old, new, own_sd, len(old) + len(new) - 2))
    return errors


def pooled_sd(old: Sequence[float], new: Sequence[float]) -> float | None:
    """The standard deviation between runs of one side, from both; None if neither has two runs."""
    freedom = len(old) + len(new) - 2
    if freedom < 1:
        return None
    squares = sum((value - fmean(side)) ** 2 for side in (old, new) for value in side)
    return math.sqrt(squares / freedom)


def holm(chances: Sequence[float], alpha: float) -> list[bool]:
    """Which findings stand, with probability ``alpha`` at most that any of them is chance.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    stand = [False] * len(chances)
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[index] > alpha / (len(chances) - rank):
            break
        stand[index] = True
    return stand


def benjamini_hochberg(chances: Sequence[float], alpha: float) -> list[bool]:
    """Which findings stand, with a share of ``alpha`` at most of them by chance, on average.

    Where nothing changed at all, the probability of any finding is ``alpha`` at most, as with
    `holm`. Source: Benjamini and Hochberg, Controlling the false discovery rate, 1995; Benjamini
    and Yekutieli, 2001, for ratios that depend on each other, as time and joules of one benchmark.
    """
    ordered = sorted(chances)
    highest = max(
        (
            chance
            for rank, chance in enumerate(ordered, start=1)
            if chance <= alpha * rank / len(ordered)
        ),
        default=-1.0,
    )
    return [chance <= highest for chance in chances]


@lru_cache(maxsize=256)
def _tails(old_runs: int, new_runs: int) -> tuple[float, ...]:
    """P(U <= u) for each u from 0 to old_runs x new_runs if both sides are alike. Exact.

    The counts are the coefficients of the Gaussian binomial, the product of
    (1 - x**(new_runs + i)) / (1 - x**i).
    """
    size = old_runs * new_runs + 1
    counts = [1] + [0] * (size - 1)
    for i in range(1, old_runs + 1):
        for power in range(size - 1, new_runs + i - 1, -1):
            counts[power] -= counts[power - new_runs - i]
        for power in range(i, size):
            counts[power] += counts[power - i]
    total, below, tails = math.comb(old_runs + new_runs, old_runs), 0, []
    for count in counts:
        below += count
        tails.append(below / total)
    return tuple(tails)


@lru_cache(maxsize=256)
def _highest_tail(old_runs: int, new_runs: int, alpha: float) -> int:
    """The highest u with P(U <= u) <= alpha; -1: none."""
    return sum(tail <= alpha for tail in _tails(old_runs, new_runs)) - 1


def student_t_cdf(t: float, freedom: int | None) -> float:
    """P(Student's t <= ``t``). ``freedom`` None: infinitely many degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if freedom is None:
        return NormalDist().cdf(t)
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine_squared = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(freedom // 2):
        total += term
        term *= cosine_squared * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return (1 + inside) / 2


@lru_cache(maxsize=1024)
def student_t_quantile(share: float, freedom: int | None) -> float:
    """The value that Student's t exceeds with probability 1 - ``share``; ``share`` in [0.5, 1)."""
    if freedom is None:
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1.0
    while student_t_cdf(high, freedom) < share:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if student_t_cdf(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return high

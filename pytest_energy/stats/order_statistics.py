"""Intervals of a median, by order statistics: no distribution is assumed, spikes do not matter.

- `median_interval`: for a number of values that is fixed beforehand (binomial, exact).
- `median_sequence`: a confidence sequence. It holds at every sample size at once, so the gate may
  look after each value and stop early. A fixed-size interval that is looked at after each of 100
  values has 10 % and more false alarms instead of 1 %.
- `signed_rank_interval`: also for a fixed number, and narrower than the first where values are
  symmetric around their median.

Rejected: t intervals (a neighbour's spikes inflate the variance and hide true changes), the
bootstrap (covers too little below 20 values, and does not allow early stopping), Mann-Whitney on
unpaired windows (drift between the batches looks like a difference).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from statistics import median

from pytest_energy.model import Interval


def median_interval(values: Sequence[float], alpha: float) -> Interval:
    """Median of ``values`` with a 1 - alpha interval, for a number of values fixed beforehand.

    The bounds are infinite if there are too few values: under 6 for 95 %, under 8 for 99 %.
    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
    """
    n = len(values)
    drop = -1  # the number of values outside the interval at each end, less one
    tail = 0.0
    for k in range(n):  # at the middle 2 * tail is 1 or more: the loop breaks before
        tail += math.comb(n, k) / 2**n
        if 2 * tail > alpha:
            break
        drop = k
    return _cut(values, drop)


# The averages of the pairs of so many values take milliseconds. No comparison has more starts.
MOST_RANKED = 100


def signed_rank_interval(values: Sequence[float], alpha: float) -> Interval:
    """The Hodges-Lehmann estimate of ``values`` with a 1 - alpha interval, for a fixed number.

    The values left in the interval are those that Wilcoxon's signed-rank test does not reject. It
    assumes that the values lie symmetrically around the middle. Then it is exact, and of normal
    values it needs two thirds of those that `median_interval` needs. The bounds are infinite if
    there are too few values. More than `MOST_RANKED` have a `median_interval`.
    Source: Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed., section 3.3.
    """
    n = len(values)
    if n > MOST_RANKED:
        return median_interval(values, alpha)
    ordered = sorted(values)
    averages = [(one + other) / 2 for i, one in enumerate(ordered) for other in ordered[i:]]
    return _cut(averages, _rejected_rank_sum(n, alpha))


def values_needed(alpha: float) -> int:
    """The fewest values for finite bounds of `signed_rank_interval`: 6 at alpha 0.05, 8 at 0.01."""
    return math.ceil(1 - math.log2(alpha))


@lru_cache
def _rejected_rank_sum(n: int, alpha: float) -> int:
    """The largest sum of positive ranks that a signed-rank test rejects as too small; -1: none.

    Each of the ranks 1 to n is positive with probability 1/2.
    """
    limit = math.floor(alpha / 2 * 2**n)
    ways = [1] + [0] * (n * (n + 1) // 2)  # in which ranks have this sum
    for rank in range(1, n + 1):
        for total in range(rank * (rank + 1) // 2, rank - 1, -1):
            ways[total] += ways[total - rank]
    drop = -1
    for total, so_far in enumerate(accumulate(ways)):
        if so_far > limit:
            break
        drop = total
    return drop


def median_sequence(values: Sequence[float], alpha: float) -> Interval:
    """Median of ``values`` with bounds that hold at every sample size at once, at 1 - alpha.

    If m is the median, the number k of values below it is binomial(n, 1/2). Against all other
    probabilities, mixed uniformly, the likelihood ratio 2**n / ((n + 1) * comb(n, k)) is a
    martingale of mean 1. By Ville's inequality it ever reaches 1 / alpha with probability at most
    alpha. The interval holds all m for which it has not.

    Source: Howard and Ramdas, Sequential estimation of quantiles with applications to A/B testing
    and best-arm identification, Bernoulli 28 (2022), with a uniform mixture.
    """
    # Most comparisons end after 11 to 30 blocks, where the uniform mixture loses nothing against
    # other Beta(a, a) mixtures: with 9 of 10 values on one side, a = 0.3, 1 and 5 need 15, 15 and
    # 22.
    return _cut(values, _rejected_ends(len(values), alpha))


def blocks_needed(alpha: float) -> int:
    """The fewest values for finite bounds of `median_sequence`: 8 at alpha 0.05, 11 at 0.01."""
    n = 1
    while _rejected_ends(n, alpha) < 0:
        n += 1
    return n


def _rejected_ends(n: int, alpha: float) -> int:
    """The largest k, up to n/2, that the sequence rejects as the number of values below the median.

    -1: none.
    """
    log_limit = -math.log(alpha)
    log_scale = n * math.log(2) - math.log(n + 1) - math.lgamma(n + 1)
    drop = -1
    for k in range(n):  # at the middle the likelihood ratio is 1 or less: the loop breaks before
        if log_scale + math.lgamma(k + 1) + math.lgamma(n - k + 1) < log_limit:
            break
        drop = k
    return drop


def _cut(values: Sequence[float], drop: int) -> Interval:
    ordered = sorted(values)
    if drop < 0:
        return Interval(median(ordered), -math.inf, math.inf)
    return Interval(median(ordered), ordered[drop], ordered[-1 - drop])


def positive(interval: Interval) -> Interval:
    """The interval of a value that cannot be negative: an unknown lower bound is 0."""
    return Interval(interval.value, max(0.0, interval.low), interval.high)


def exp_interval(logs: Interval) -> Interval:
    """The interval of ratios whose logarithms have the interval ``logs``."""
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))

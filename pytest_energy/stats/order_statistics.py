"""Floats in, floats out: medians and their intervals.

Two kinds of interval, both by order statistics, so that neither assumes a distribution and a spike
cannot move them:

- `median_interval`: for a number of values fixed beforehand (binomial, exact).
- `median_sequence`: a confidence sequence. It holds at every sample size at once, so one may look after
  each value and stop when one likes. That is what a gate that stops early needs; peeking at a fixed-size
  interval after each of 100 values raises its false alarms from 1 % to 10 % and more.

Rejected: t intervals (a noisy neighbour's spikes blow up the variance, and miss true changes), the
bootstrap (under-covers below 20 values, and is no use for stopping early), Mann-Whitney on unpaired
windows (drift between the batches reads as a difference).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_energy.model import Interval


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two. Raises ValueError for no values."""
    if not values:
        raise ValueError("the median of no values")
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def median_interval(values: Sequence[float], alpha: float) -> Interval:
    """Median of ``values`` with a 1 - alpha interval, for a number of values fixed beforehand.

    Where there are too few (under 6 for 95 %, under 8 for 99 %), the bounds are 0 and infinity: not known.
    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
    """
    n = len(values)
    drop = -1  # how many values at each end lie outside the interval, less one
    tail = 0.0
    for k in range(n):  # by the middle 2 * tail is 1 or more, so the break comes before that
        tail += math.comb(n, k) / 2**n
        if 2 * tail > alpha:
            break
        drop = k
    return _cut(values, drop)


def median_sequence(values: Sequence[float], alpha: float) -> Interval:
    """Median of ``values`` with bounds that hold, with probability 1 - alpha, at every sample size at once.

    If m is the median, the number k of values below it is binomial(n, 1/2), and against every other
    probability, mixed uniformly, the likelihood ratio 2**n / ((n + 1) * comb(n, k)) is a martingale of mean 1.
    By Ville's inequality it ever reaches 1 / alpha with probability at most alpha; all m for which
    it has not are the interval. Source: Howard and Ramdas, Sequential estimation of quantiles with
    applications to A/B testing and best-arm identification, Bernoulli 28 (2022), with a uniform mixture.
    """
    # Other mixtures, Beta(a, a): values needed (median) where a share of 0.98, 0.9, 0.8, 0.7, 0.6 of them lies on one side
    # of what is to be told apart, alpha 0.01, 1000 draws: a = 0.3: 9, 15, 30, 78, 340; uniform, a = 1: 11, 15, 32, 70, 314;
    # a = 5: 16, 22, 36, 65, 269. Most comparisons are decided by 11 to 30 blocks, where the uniform one loses nothing.
    return _cut(values, _rejected_ends(len(values), alpha))


def blocks_needed(alpha: float) -> int:
    """The fewest values of which `median_sequence` can tell anything: 8 for alpha = 0.05, 11 for 0.01."""
    n = 1
    while _rejected_ends(n, alpha) < 0:
        n += 1
    return n


def _rejected_ends(n: int, alpha: float) -> int:
    """The largest k, up to n/2, of which the sequence says: the median has not just k values below it. -1: none."""
    log_limit = -math.log(alpha)
    log_scale = n * math.log(2) - math.log(n + 1) - math.lgamma(n + 1)
    drop = -1
    for k in range(
        n
    ):  # by the middle the likelihood ratio is 1 or less, so the break comes before that
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
    """The same interval of something that cannot be negative: an unknown lower bound is 0."""
    return Interval(interval.value, max(0.0, interval.low), interval.high)


def exp_interval(logs: Interval) -> Interval:
    """An interval of logarithms as one of ratios."""
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))

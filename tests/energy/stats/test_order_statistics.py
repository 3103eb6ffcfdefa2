"""Intervals of medians: agreement with SciPy, and how often they miss the true median."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import binom, wilcoxon

from pytest_energy.model import Interval
from pytest_energy.stats.order_statistics import (
    blocks_needed,
    exp_interval,
    median_interval,
    median_sequence,
    positive,
    signed_rank_interval,
    values_needed,
)

both = pytest.mark.parametrize("interval_of", [median_interval, median_sequence])
alphas = st.sampled_from([0.2, 0.1, 0.05, 0.01, 0.001])
# Whole numbers, because maps of them are exact and ties are common.
values = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=60)


def rejected_ends(interval_of, n: int, alpha: float) -> int:
    """The number of values outside the interval at each end, minus one; -1 if unbounded."""
    interval = interval_of([float(rank) for rank in range(n)], alpha)
    return -1 if math.isinf(interval.low) else int(interval.low)


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 0.001])
def test_interval_agrees_with_scipy(alpha):
    for n in range(1, 120):
        expected = max((k for k in range(n // 2) if 2 * binom.cdf(k, n, 0.5) <= alpha), default=-1)
        assert rejected_ends(median_interval, n, alpha) == expected, n


@pytest.mark.parametrize(("alpha", "fewest"), [(0.05, 6), (0.01, 8)])
def test_the_interval_has_bounds_from_the_fewest_values(alpha, fewest):
    assert rejected_ends(median_interval, fewest - 1, alpha) == -1
    assert rejected_ends(median_interval, fewest, alpha) == 0


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.5), (4, 0.125), (7, 2**-6)])
def test_the_interval_uses_all_of_alpha(n, alpha):
    """All n values lie on one side of the median with probability 2 / 2**n, here alpha."""
    assert rejected_ends(median_interval, n, alpha) == 0
    assert rejected_ends(median_interval, n, alpha * 0.999) == -1


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 0.001])
def test_sequence_agrees_with_scipys_beta(alpha):
    for n in range(1, 301):
        rejected = [
            k
            for k in range((n + 1) // 2)
            if n * math.log(2) + betaln(k + 1, n - k + 1) >= -math.log(alpha)
        ]
        assert rejected_ends(median_sequence, n, alpha) == max(rejected, default=-1), n


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("n", [5, 8, 11, 12, 17, 22, 33, 42])
def test_the_signed_rank_interval_holds_what_scipys_test_does_not_reject(n, alpha):
    rng = random.Random(n)
    taken = [rng.gauss(1.0, 0.02) for _ in range(n)]
    interval = signed_rank_interval(taken, alpha)

    def rejects(middle):
        return wilcoxon([value - middle for value in taken], method="exact").pvalue <= alpha

    if n < values_needed(alpha):
        assert math.isinf(interval.low) and math.isinf(interval.high)
        return
    for bound, outward in ((interval.low, -1e-9), (interval.high, 1e-9)):
        assert rejects(bound + outward) and not rejects(bound - outward)
    averages = [(one + other) / 2 for i, one in enumerate(taken) for other in taken[i:]]
    assert interval.value == pytest.approx(median(averages))


def test_too_many_values_to_rank_have_an_interval_of_their_order():
    many = [float(n) for n in range(1000)]
    assert signed_rank_interval(many, 0.01) == median_interval(many, 0.01)


def test_symmetric_values_have_a_narrower_signed_rank_interval():
    rng = random.Random(5)

    def width(interval):
        return interval.high - interval.low

    draws = [[rng.gauss(0.0, 1.0) for _ in range(33)] for _ in range(40)]
    narrow = sum(width(signed_rank_interval(taken, 0.01)) for taken in draws)
    assert narrow < 0.9 * sum(width(median_interval(taken, 0.01)) for taken in draws)


def chance_of_ever_missing(interval_of, alpha: float, looks: int) -> float:
    """The exact probability that the interval misses the median after any of the first values.

    The number of values below the median is a random walk with fair steps. The function adds up
    the probability of the walks that leave the interval.
    """
    walks, missed = {0: 1.0}, 0.0
    for n in range(1, looks + 1):
        stepped: dict[int, float] = {}
        for below, chance in walks.items():
            for after in (below, below + 1):
                stepped[after] = stepped.get(after, 0.0) + chance / 2
        outside = rejected_ends(interval_of, n, alpha)
        walks = {
            below: chance for below, chance in stepped.items() if outside < below < n - outside
        }
        missed += sum(stepped.values()) - sum(walks.values())
    return missed


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_sequence_holds_when_checked_after_each_value(alpha):
    chance = chance_of_ever_missing(median_sequence, alpha, 300)
    assert chance <= alpha
    # A much lower probability would cost more blocks than alpha requires.
    assert chance > alpha / 4


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_interval_fails_when_checked_after_each_value(alpha):
    assert chance_of_ever_missing(median_interval, alpha, 300) > 4 * alpha


def test_only_the_sequence_holds_in_a_simulation_with_checks():
    """The same check with random values, skewed like times, instead of the theory."""
    rng, runs, looks, alpha = random.Random(20260101), 300, 100, 0.05
    missed = {median_interval: 0, median_sequence: 0}
    for _ in range(runs):
        drawn = [rng.lognormvariate(0, 1) for _ in range(looks)]
        for interval_of in missed:
            intervals = (interval_of(drawn[:n], alpha) for n in range(1, looks + 1))
            missed[interval_of] += any(
                not interval.low <= 1 <= interval.high for interval in intervals
            )
    assert missed[median_sequence] <= alpha * runs
    assert missed[median_interval] > 2 * alpha * runs


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 8), (0.01, 11)])
def test_blocks_needed(alpha, needed):
    assert blocks_needed(alpha) == needed
    assert median_sequence([1.0] * (needed - 1), alpha).high == math.inf
    assert median_sequence([1.0] * needed, alpha) == Interval(1.0, 1.0, 1.0)


@both
@given(values=values, alpha=alphas)
def test_the_interval_contains_the_median(interval_of, values, alpha):
    interval = interval_of(values, alpha)
    assert interval.low <= interval.value <= interval.high
    assert interval.value == median(values)


@both
@given(values=values, alpha=alphas, other=alphas)
def test_more_confidence_widens_the_interval(interval_of, values, alpha, other):
    narrow, wide = (interval_of(values, a) for a in sorted((alpha, other), reverse=True))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@both
@given(values=values, alpha=alphas, seed=st.randoms(use_true_random=False))
def test_the_order_of_the_values_changes_nothing(interval_of, values, alpha, seed):
    shuffled = list(values)
    seed.shuffle(shuffled)
    assert interval_of(shuffled, alpha) == interval_of(values, alpha)


@both
@given(values=values, alpha=alphas)
def test_the_bounds_follow_monotone_maps(interval_of, values, alpha):
    interval = interval_of(values, alpha)
    cubed = interval_of([value**3 for value in values], alpha)
    assert (cubed.low, cubed.high) == (interval.low**3, interval.high**3)
    turned = interval_of([-value for value in values], alpha)
    assert turned == Interval(-interval.value, -interval.high, -interval.low)


@both
@given(values=values, alpha=alphas, spike=st.floats(1e3, 1e300))
def test_a_spike_moves_no_bound_beyond_the_other_values(interval_of, values, alpha, spike):
    interval = interval_of([*values, spike], alpha)
    if math.isfinite(interval.high) and len(values) > 20:
        assert interval.high <= max(values)


@both
def test_equal_values_give_their_value(interval_of):
    assert interval_of([3.0] * 30, 0.05) == Interval(3.0, 3.0, 3.0)


@both
def test_one_value_has_no_bounds(interval_of):
    assert interval_of([3.0], 0.05) == Interval(3.0, -math.inf, math.inf)


@both
def test_the_interval_requires_a_value(interval_of):
    with pytest.raises(ValueError, match="no median"):
        interval_of([], 0.05)


def test_an_unknown_lower_bound_of_a_positive_value_is_zero():
    assert positive(Interval(2.0, -math.inf, math.inf)) == Interval(2.0, 0.0, math.inf)
    assert positive(Interval(2.0, 1.0, 3.0)) == Interval(2.0, 1.0, 3.0)


def test_unknown_bounds_of_logarithms_give_unknown_ratios():
    assert exp_interval(Interval(0.0, -math.inf, math.inf)) == Interval(1.0, 0.0, math.inf)
    ratio = exp_interval(Interval(math.log(2), 0.0, math.log(4)))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 1.0, 4.0))

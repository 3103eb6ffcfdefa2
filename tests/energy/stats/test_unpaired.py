"""Statistics of saved runs, with SciPy as the oracle."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.stats.unpaired import (
    benjamini_hochberg,
    holm,
    noise_errors,
    pooled_sd,
    rank_can_tell,
    rank_chance,
    rank_shift,
    runs_for_rank,
    student_t_cdf,
    student_t_quantile,
    t_chance,
    t_shift,
)

# Ten runs; the noise between them is smaller than the changes under test.
TEN = [math.exp(0.002 * offset) for offset in (-4, 3, 0, 5, -2, 1, -5, 4, -1, 2)]
logs = st.floats(-50, 50)


@given(st.floats(-40, 40), st.integers(1, 200))
def test_student_t_agrees_with_scipy(t, freedom):
    assert student_t_cdf(t, freedom) == pytest.approx(scipy.stats.t.cdf(t, freedom), abs=1e-10)


@given(st.floats(0.5, 0.9999), st.one_of(st.none(), st.integers(1, 200)))
def test_student_t_quantile_agrees_with_scipy(share, freedom):
    expected = scipy.stats.norm.ppf(share) if freedom is None else scipy.stats.t.ppf(share, freedom)
    assert student_t_quantile(share, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(
    st.lists(logs, min_size=1, max_size=9, unique=True),
    st.lists(logs, min_size=1, max_size=9, unique=True),
)
def test_rank_chance_agrees_with_scipys_exact_mann_whitney(old, new):
    if set(old) & set(new):
        return
    expected = scipy.stats.mannwhitneyu(old, new, alternative="less", method="exact").pvalue
    assert rank_chance(old, new, 0.0) == pytest.approx(expected)


@given(
    st.lists(st.integers(-3, 3), min_size=5, max_size=9),
    st.lists(st.integers(-3, 3), min_size=5, max_size=9),
    st.integers(-3, 3),
)
def test_chance_and_bounds_agree_with_ties(old, new, limit):
    """The upper bound is below the limit if and only if the chance is below alpha."""
    high = rank_shift(old, new, 0.01).high
    assert (high < limit) == (rank_chance(old, new, limit) <= 0.01)


@given(
    st.lists(logs, min_size=1, max_size=4),
    st.lists(logs, min_size=1, max_size=4),
    st.floats(0, 1),
    st.floats(-5, 5),
)
def test_chance_and_bounds_of_few_runs_agree(old, new, noise_sd, limit):
    errors = noise_errors(old, new, noise_sd, 12)
    high = t_shift(old, new, errors, 0.01).high
    chance = t_chance(old, new, errors, limit)
    if abs(high - limit) > 1e-6:
        assert (high < limit) == (chance <= 0.01)


@pytest.mark.parametrize(("old", "new"), [(2, 2), (3, 3), (4, 2), (10, 2)])
def test_few_runs_without_noise_agree_with_scipys_pooled_t(old, new):
    sides = [0.1, 0.5, -0.3, 0.2, 0.9, 0.35, 0.6, -0.1, 0.0, 0.4][:old], [0.7, 0.45, 0.8][:new]
    expected = scipy.stats.ttest_ind(*sides).confidence_interval(0.98)
    found = t_shift(*sides, noise_errors(*sides, 0.0, None), 0.01)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_side_of_one_run_does_not_change_the_pooled_spread():
    assert pooled_sd([1.0, 2.0, 4.0], [9.0]) == pytest.approx(statistics.stdev([1.0, 2.0, 4.0]))
    assert pooled_sd([1.0], [2.0]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_adjusted_chances_up_to_the_level(chances):
    ordered = sorted(chances)
    adjusted, highest = {}, 0.0
    for rank, chance in enumerate(ordered):
        highest = max(highest, min(1.0, chance * (len(ordered) - rank)))
        adjusted.setdefault(chance, highest)
    for chance, stands in zip(chances, holm(chances, 0.05)):
        if abs(adjusted[chance] - 0.05) > 1e-9 and chances.count(chance) == 1:
            assert stands == (adjusted[chance] <= 0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_agrees_with_scipy(chances):
    adjusted = scipy.stats.false_discovery_control(chances)
    for chance, stands in zip(adjusted, benjamini_hochberg(chances, 0.05)):
        if abs(chance - 0.05) > 1e-9:
            assert stands == (chance <= 0.05)


def test_the_number_of_runs_that_the_rank_test_needs():
    assert runs_for_rank(0.01) == 5
    assert (
        rank_can_tell(10, 3, 0.01)
        and not rank_can_tell(10, 2, 0.01)
        and not rank_can_tell(4, 4, 0.01)
    )


def test_the_bound_raises_at_most_one_per_cent_false_alarms():
    """Exact: at most 1 % of all splits of ten unchanged runs into two sides of five alarm."""
    alarms = deals = 0
    for chosen in itertools.combinations(range(10), 5):
        old, new = [TEN[i] for i in chosen], [TEN[i] for i in range(10) if i not in chosen]
        alarms += rank_shift(old, new, 0.01).high < 0
        deals += 1
    assert 0 < alarms / deals <= 0.01

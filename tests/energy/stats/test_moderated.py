"""The spread of a suite, with SciPy's F distribution as the oracle."""

from __future__ import annotations

import math
import random

import pytest
import scipy.optimize
import scipy.stats

from pytest_energy.stats.moderated import (
    FEWEST_BENCHMARKS,
    FREEDOMS,
    Spread,
    moderated_error,
    suite_spread,
)
from pytest_energy.stats.unpaired import pooled_sd

Sides = list[tuple[list[float], list[float]]]


def drawn(suite: Spread, benchmarks: int, runs: int, seed: int = 1) -> Sides:
    """Runs of benchmarks whose variances are drawn from the suite's distribution."""
    dice = random.Random(seed)
    sides = []
    for _ in range(benchmarks):
        # A scaled inverse chi-square: the prior of the moderated t.
        chi_square = dice.gammavariate(suite.freedom / 2, 2)
        sd = math.sqrt(suite.freedom * suite.variance / chi_square)
        sides.append(tuple([dice.gauss(5.0, sd) for _ in range(runs)] for _ in "AB"))
    return sides


@pytest.mark.parametrize("freedom", [1, 4, 16])
def test_the_spread_that_runs_were_drawn_with(freedom):
    found = suite_spread(drawn(Spread(0.02**2, freedom), 400, 4))
    places = FREEDOMS.index(freedom) - FREEDOMS.index(found.freedom)
    assert 0 <= places <= 2  # the least that is likely
    assert math.sqrt(found.variance) == pytest.approx(0.02, rel=0.2)


def test_the_fit_is_the_most_likely_one_by_scipys_density():
    sides = drawn(Spread(0.03**2, 4), 60, 3)
    variances = [pooled_sd(*side) ** 2 for side in sides]

    def likelihood(freedom: float, variance: float) -> float:
        return sum(scipy.stats.f.logpdf(v, 4, freedom, scale=variance) for v in variances)

    found = suite_spread(sides)
    best = scipy.optimize.minimize_scalar(
        lambda log: -likelihood(found.freedom, math.exp(log)), bounds=(-12, -2), method="bounded"
    )
    assert math.log(found.variance) == pytest.approx(best.x, abs=1e-3)
    highest = max(likelihood(freedom, found.variance) for freedom in FREEDOMS)
    assert likelihood(*reversed(found)) >= highest - 1.01


def test_a_suite_that_says_too_little():
    sides = drawn(Spread(0.01, 4), FEWEST_BENCHMARKS, 3)
    assert suite_spread(sides) is not None
    assert suite_spread(sides[1:]) is None
    assert suite_spread(drawn(Spread(0.01, 4), 50, 2)) is None  # two runs a side
    alike = [([1.0] * 3, [1.0] * 3)] * len(sides)
    assert suite_spread([*sides, *alike]) is not None
    assert suite_spread([*sides, *alike, alike[0]]) is None


def test_a_moderated_spread_lies_between_the_benchmarks_and_the_suites():
    old, new = [0.0, 0.02, 0.04], [0.1, 0.12, 0.14]
    error = moderated_error(old, new, Spread(0.01**2, 8))
    assert error.freedom == 4 + 8
    variance = (4 * 0.02**2 + 8 * 0.01**2) / 12
    assert error.value == pytest.approx(math.sqrt(variance * 2 / 3))


@pytest.mark.parametrize("runs", [3, 5])
def test_bounds_at_99_per_cent_fail_in_one_per_cent(runs):
    """Of unchanged benchmarks that differ in spread, in suites of 10."""
    alarms = cases = 0
    for seed in range(150):
        sides = drawn(Spread(0.02**2, 2), FEWEST_BENCHMARKS, runs, seed)
        suite = suite_spread(sides)
        for old, new in sides:
            error = moderated_error(old, new, suite)
            gap = (sum(new) - sum(old)) / runs
            alarms += gap > scipy.stats.t.ppf(0.99, error.freedom) * error.value
            cases += 1
    assert alarms / cases <= 0.014

"""The three ratios and the eight categories."""

from __future__ import annotations

import doctest
import math
import random
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_energy.stats.gps_up as gps_up_module
from pytest_energy.model import ORDERS, Block, Domain, Interval, MeterInfo, Window
from pytest_energy.stats.gps_up import (
    CATEGORIES,
    category,
    fewest_blocks,
    fewest_starts,
    gps_up,
)
from tests.energy.rigs.made_up import ESTIMATE, SENSOR, UNKNOWN, block, seconds, window

ALPHA = 0.05
MORE, SAME, LESS = Interval(1.5, 1.2, 2.0), Interval(1.01, 0.98, 1.02), Interval(0.6, 0.5, 0.8)
joules = st.floats(1e-9, 1e6)
# A moderate range, so that rounding does not hide a product of two ratios.
calls = st.integers(1, 10**6)
windows = st.builds(window, seconds, joules, calls)
four = st.tuples(windows, windows, windows, windows)
blocks = st.lists(st.builds(Block, st.sampled_from(ORDERS), four), min_size=1, max_size=20)


def test_examples():
    assert doctest.testmod(gps_up_module).failed == 0


@pytest.mark.parametrize(
    ("speedup", "greenup", "powerup", "expected"),
    [
        (MORE, MORE, LESS, 1),
        (MORE, MORE, SAME, 2),
        (MORE, MORE, MORE, 3),
        (LESS, MORE, LESS, 4),
        (MORE, LESS, MORE, 5),
        (LESS, LESS, LESS, 6),
        (LESS, LESS, SAME, 7),
        (LESS, LESS, MORE, 8),
    ],
)
def test_categories(speedup, greenup, powerup, expected):
    assert category(speedup, greenup, powerup) == expected
    assert expected in CATEGORIES


@pytest.mark.parametrize(
    ("speedup", "greenup", "powerup"),
    [
        (SAME, MORE, LESS),  # neither faster nor slower
        (MORE, SAME, MORE),  # neither more nor less energy
        (SAME, SAME, SAME),
        (MORE, None, None),
        (MORE, MORE, None),
        (UNKNOWN, UNKNOWN, UNKNOWN),
        (MORE, MORE, UNKNOWN),  # without bounds the power may differ
    ],
)
def test_unclear_intervals_give_no_category(speedup, greenup, powerup):
    assert category(speedup, greenup, powerup) is None


@pytest.mark.parametrize(
    ("powerup", "expected"),
    [
        (Interval(1.002, 1.001, 1.003), 2),  # a certain change, below the tolerance
        (Interval(1.01, 1 / 1.03, 1.03), 2),
        (Interval(1.05, 1.0301, 1.1), 3),
        (Interval(0.95, 0.9, 0.9708), 1),
        (Interval(1.02, 1.0, 1.05), None),  # the same or more
        (Interval(1.0, 0.9, 1.1), None),
    ],
)
def test_power_within_the_tolerance_is_the_same_power(powerup, expected):
    assert category(MORE, MORE, powerup) == expected


def test_a_bound_at_one_is_neither_faster_nor_slower():
    assert category(Interval(1.1, 1.0, 1.2), MORE, LESS) is None


def test_an_estimate_supports_no_category():
    faster = [block(window(2.0, 2.0), window(1.0, 1.0))] * 20
    assert gps_up(faster, SENSOR, ALPHA).category == 2
    assert gps_up(faster, ESTIMATE, ALPHA).category is None


def test_ratios_of_one_block():
    # Half the time at 1.5 times the power: 0.75 of the joules.
    ratios = gps_up([block(window(2.0, 40.0), window(1.0, 30.0))], SENSOR, ALPHA)
    assert ratios.speedup.value == pytest.approx(2.0)
    assert ratios.greenup.value == pytest.approx(4 / 3)
    assert ratios.powerup.value == pytest.approx(1.5)
    assert (ratios.speedup.low, ratios.speedup.high) == (0.0, math.inf)
    assert ratios.category is None


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_a_block_assigns_windows_to_sides(order):
    ratios = gps_up([block(window(2.0, 40.0), window(1.0, 30.0), order)], SENSOR, ALPHA)
    assert ratios.speedup.value == pytest.approx(2.0)


def test_ratios_are_per_call():
    # The candidate's window is equally long and holds ten times the calls.
    ratios = gps_up(
        [block(window(1.0, 20.0, calls=10), window(1.0, 10.0, calls=100))], SENSOR, ALPHA
    )
    assert ratios.speedup.value == pytest.approx(10.0)
    assert ratios.greenup.value == pytest.approx(20.0)
    assert ratios.powerup.value == pytest.approx(0.5)


def test_a_nested_domain_is_not_counted_twice():
    meter = MeterInfo(
        "rapl",
        "measured",
        (Domain("package-0"), Domain("core-0", "package-0"), Domain("dram-0")),
        0.001,
        1e-6,
    )
    baseline = Window(1.0, {"package-0": 10.0, "core-0": 9.0, "dram-0": 2.0}, 1)
    candidate = Window(1.0, {"package-0": 5.0, "core-0": 0.0, "dram-0": 1.0}, 1)
    assert gps_up([block(baseline, candidate)], meter, ALPHA).greenup.value == pytest.approx(12 / 6)


@pytest.mark.parametrize("still", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, -1.0)])
def test_a_counter_that_stood_still_in_one_block_leaves_only_the_speedup(still):
    moved = [block(window(2.0, 2.0), window(1.0, 1.0))] * 20
    ratios = gps_up([*moved, block(window(2.0, still[0]), window(1.0, still[1]))], SENSOR, ALPHA)
    assert ratios.speedup.low == pytest.approx(2.0)
    assert (ratios.greenup, ratios.powerup, ratios.category) == (None, None, None)


def test_ratios_require_a_block():
    with pytest.raises(ValueError, match="no median"):
        gps_up([], SENSOR, ALPHA)


@given(windows, windows)
def test_powerup_is_speedup_over_greenup_in_each_block(baseline, candidate):
    ratios = gps_up([block(baseline, candidate)], SENSOR, ALPHA)
    assert ratios.powerup.value == pytest.approx(ratios.speedup.value / ratios.greenup.value)


@given(blocks)
def test_swapped_sides_invert_the_ratios(blocks):
    swapped = [Block("BAAB" if b.order == "ABBA" else "ABBA", b.windows) for b in blocks]
    ratios, inverse = gps_up(blocks, SENSOR, ALPHA), gps_up(swapped, SENSOR, ALPHA)
    for ratio, other in zip(
        (ratios.speedup, ratios.greenup, ratios.powerup),
        (inverse.speedup, inverse.greenup, inverse.powerup),
        strict=True,
    ):
        assert ratio.value * other.value == pytest.approx(1)
        if math.isfinite(ratio.high):
            assert ratio.low * other.high == pytest.approx(1)


@given(blocks)
def test_category_follows_from_the_ratios_alone(blocks):
    ratios = gps_up(blocks, SENSOR, ALPHA)
    assert ratios.category == category(ratios.speedup, ratios.greenup, ratios.powerup)
    if ratios.category is not None:
        assert (ratios.greenup.low > 1) == (ratios.category <= 4)


def noisy_blocks(rng: random.Random, speedup: float, greenup: float, count: int) -> list[Block]:
    def side(seconds: float, joules: float) -> Window:
        # Another process disturbs one of twenty windows, which then takes ten times as long.
        busy = 10.0 if rng.random() < 0.05 else 1.0
        return window(
            seconds * busy * rng.lognormvariate(0, 0.02),
            joules * busy * rng.lognormvariate(0, 0.02),
        )

    return [
        Block(
            order,
            tuple(side(speedup, greenup) if letter == "A" else side(1.0, 1.0) for letter in order),
        )
        for order in rng.choices(ORDERS, k=count)
    ]


def test_a_true_difference_is_found_and_none_is_invented():
    rng, runs = random.Random(7), 100
    held = invented = found = 0
    for _ in range(runs):
        ratios = gps_up(noisy_blocks(rng, 1.3, 1.1, 40), SENSOR, ALPHA)
        held += (
            ratios.speedup.low <= 1.3 <= ratios.speedup.high
            and ratios.greenup.low <= 1.1 <= ratios.greenup.high
        )
        found += ratios.category == 3
        invented += gps_up(noisy_blocks(rng, 1.0, 1.0, 40), SENSOR, ALPHA).category is not None
    assert held >= 0.95 * runs
    assert found >= 0.95 * runs
    assert invented == 0


@given(st.lists(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=5), min_size=1, max_size=30))
def test_blocks_of_one_start_count_as_their_median(ratios_by_start):
    def made(ratio, replicate):
        return Block(
            "ABBA",
            tuple(window(ratio if letter == "A" else 1.0, 1.0) for letter in "ABBA"),
            replicate,
        )

    grouped = [
        made(ratio, number) for number, ratios in enumerate(ratios_by_start) for ratio in ratios
    ]
    alone = [made(median(ratios), number) for number, ratios in enumerate(ratios_by_start)]
    together, apart = (gps_up(blocks, SENSOR, ALPHA).speedup for blocks in (grouped, alone))
    # For an even count, one median is a mean of two logarithms and the other of two ratios.
    if all(len(ratios) % 2 for ratios in ratios_by_start):
        assert (together.value, together.low, together.high) == pytest.approx(
            (apart.value, apart.low, apart.high)
        )
    assert (together.high == math.inf) == (apart.high == math.inf)


def test_one_preempted_window_per_block_does_not_widen_the_speedup():
    """One random window of each block is slow; each side's smaller window is undisturbed."""
    rng = random.Random(3)
    made = []
    for order in rng.choices(ORDERS, k=40):
        preempted = rng.randrange(4)
        windows = [window(1.02 if letter == "A" else 1.0, 1.0) for letter in order]
        windows[preempted] = window(rng.uniform(1.5, 9.0), 1.0)
        made.append(Block(order, tuple(windows)))
    speedup = gps_up(made, SENSOR, ALPHA).speedup
    assert (speedup.low, speedup.high) == pytest.approx((1.02, 1.02))


def test_two_statistics_that_differ_bound_the_interval():
    """One of the candidate's two windows per block is slow; the other equals the baseline."""
    made = [
        Block(order, tuple(window(s, 1.0) for s in taken))
        for order, taken in [("ABBA", (1.0, 1.0, 3.0, 1.0)), ("BAAB", (3.0, 1.0, 1.0, 1.0))] * 20
    ]
    speedup = gps_up(made, SENSOR, ALPHA).speedup
    assert (speedup.low, speedup.high) == pytest.approx((0.5, 1.0))


@given(blocks)
def test_starts_have_finite_bounds_from_the_fewest_on(blocks):
    fewest = fewest_starts(ALPHA)
    many = [
        replace(block, replicate=number) for number, block in enumerate((blocks * fewest)[:fewest])
    ]
    assert math.isfinite(gps_up(many, SENSOR, ALPHA).speedup.high)
    assert not math.isfinite(gps_up(many[1:], SENSOR, ALPHA).speedup.high)


@pytest.mark.parametrize("tail", ["normal", "bimodal", "heavy"])
def test_starts_hold_the_truth_after_every_look(tail):
    """Each start has a layout's error, symmetric around the truth."""
    rng, runs, missed = random.Random(11), 150, 0

    def error():
        if tail == "bimodal":
            return rng.choice((-1, 1)) * 0.02 + rng.gauss(0, 0.004)
        return rng.gauss(0, 0.01) / (rng.random() + 0.01 if tail == "heavy" else 1.0)

    for _ in range(runs):
        made = [
            Block("ABBA", tuple(window(s, 1.0) for s in (a, 1.0, 1.0, a)), number)
            for number, a in enumerate(math.exp(error()) * 1.2 for _ in range(33))
        ]
        looks = [gps_up(made[:n], SENSOR, 0.2).speedup for n in (7, 11, 14, 21)]
        missed += any(not seen.low <= 1.2 <= seen.high for seen in looks)
    assert missed <= 0.2 * runs


@given(blocks)
def test_the_speedup_has_finite_bounds_with_the_fewest_blocks(blocks):
    fewest = fewest_blocks(ALPHA)
    many = (blocks * fewest)[:fewest]
    assert math.isfinite(gps_up(many, SENSOR, ALPHA).speedup.high)
    assert not math.isfinite(gps_up(many[1:], SENSOR, ALPHA).speedup.high)

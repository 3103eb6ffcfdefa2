"""Which blocks other processes hit unequally, and that the rule knows nothing of ratio and coin."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.model import Block, CpuSeconds
from pytest_energy.stats.gps_up import fewest_blocks, gps_up
from pytest_energy.stats.others import hit_unequally, share_of_others, shares_by_side
from tests.energy.rigs.made_up import SENSOR, cpu_seconds, window


def beside(*others_s: float, own_s: float = 0.075, seconds: float = 0.075, order: str = "ABBA"):
    """A block of four windows with these CPU seconds of others."""
    windows = (window(seconds, 2.0)._replace(cpu=CpuSeconds(own_s, others)) for others in others_s)
    return Block(order, tuple(windows))


@pytest.mark.parametrize(
    ("others_s", "unequal"),
    [
        ((0.0, 0.0, 0.0, 0.0), False),
        ((0.075, 0.075, 0.075, 0.075), False),
        ((0.075, 0.0, 0.075, 0.0), False),  # A B B A: each side has one
        ((0.075, 0.0, 0.0, 0.075), True),
        ((0.0, 0.05, 0.0, 0.0), True),
        ((0.01, 0.0, 0.0, 0.01), False),  # two ticks
        ((-0.01, 0.01, 0.01, -0.01), True),  # four ticks, which rounding does not explain
        ((-0.01, 0.01, 0.0, -0.01), False),
    ],
)
def test_a_block_is_unequal_by_the_cpu_seconds_beside_its_sides(others_s, unequal):
    assert hit_unequally(beside(*others_s)) is unequal


def test_eight_busy_threads_make_a_neighbour_small():
    assert hit_unequally(beside(0.05, 0.0, 0.0, 0.05))
    assert not hit_unequally(beside(0.05, 0.0, 0.0, 0.05, own_s=0.6))


def test_a_steady_neighbour_is_equal_beside_a_side_that_takes_twice_as_long():
    short, long = (
        window(seconds, 2.0)._replace(cpu=CpuSeconds(seconds, seconds)) for seconds in (0.08, 0.16)
    )
    assert not hit_unequally(Block("ABBA", (short, long, long, short)))


def test_blocks_without_cpu_seconds_are_equal_and_have_no_share():
    block = Block("ABBA", (window(0.1, 1.0),) * 4)
    assert not hit_unequally(block)
    assert share_of_others([block]) is None
    assert shares_by_side([block]) is None


def test_shares_are_those_of_all_windows_of_a_side():
    block = beside(0.075, 0.0, 0.0, 0.075)
    assert share_of_others([block]) == pytest.approx(1 / 3)
    assert shares_by_side([block, block]) == pytest.approx((0.5, 0.0))


@given(
    st.lists(cpu_seconds, min_size=4, max_size=4),
    st.lists(st.floats(0.01, 1000.0), min_size=8, max_size=8),
)
def test_the_rule_knows_neither_the_coin_nor_the_joules(cpu, joules):
    """The same windows with the sides exchanged, and with other joules, get the same answer."""
    windows, with_other_joules = (
        tuple(window(0.08, j)._replace(cpu=used) for j, used in zip(some, cpu, strict=True))
        for some in (joules[:4], joules[4:])
    )
    answer = hit_unequally(Block("ABBA", windows))
    assert hit_unequally(Block("BAAB", windows)) is answer
    assert hit_unequally(Block("ABBA", with_other_joules)) is answer


def of_joules(baseline: float, candidate: float, beside_baseline_s: float):
    a = window(0.075, baseline)._replace(cpu=CpuSeconds(0.075, beside_baseline_s))
    b = window(0.075, candidate)._replace(cpu=CpuSeconds(0.075, 0.0))
    return Block("ABBA", (a, b, b, a))


def test_unequal_blocks_count_for_time_and_not_for_joules():
    needed = fewest_blocks(0.01)
    blocks = [of_joules(2.0, 2.0, 0.0)] * needed + [of_joules(3.5, 2.0, 0.075)] * needed
    ratios = gps_up(blocks, SENSOR, 0.01)
    assert (ratios.greenup.low, ratios.greenup.high) == pytest.approx((1.0, 1.0))
    assert (ratios.powerup.low, ratios.powerup.high) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("equal", [0, 3])
def test_too_few_equal_blocks_leave_the_bounds_of_joules_unknown(equal):
    blocks = [of_joules(2.0, 2.0, 0.0)] * equal + [of_joules(3.5, 2.0, 0.075)] * 20
    ratios = gps_up(blocks, SENSOR, 0.01)
    assert ratios.greenup.high == ratios.powerup.high == math.inf
    assert math.isfinite(ratios.speedup.high)

"""Which blocks other processes hit unequally, and that the rule knows nothing of ratio and coin."""

import math
import random
from statistics import pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_energy.model import ORDERS, Block, CpuSeconds, Domain, MeterInfo, Window
from pytest_energy.stats.gps_up import fewest_blocks, gps_up
from pytest_energy.stats.others import (
    follow_a_side,
    hit_unequally,
    joules_beside_equal_others,
    share_of_others,
    shares_by_side,
)
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
        ((0.15, 0.0, 0.0, 0.15), True),  # two CPUs
        ((0.0, 0.15, 0.15, 0.0), True),
        ((0.075, 0.0, 0.0, 0.075), False),  # one CPU: a correction of two thirds
        ((-0.01, 0.01, 0.01, -0.01), False),  # four ticks
    ],
)
def test_a_block_is_unequal_by_the_cpu_seconds_beside_its_sides(others_s, unequal):
    assert hit_unequally(beside(*others_s)) is unequal


def test_eight_busy_threads_make_a_neighbour_small():
    assert hit_unequally(beside(0.15, 0.0, 0.0, 0.15))
    assert not hit_unequally(beside(0.15, 0.0, 0.0, 0.15, own_s=0.6))
    # Code that sleeps: others have nearly all of the CPU time, and ticks are large beside it.
    assert not hit_unequally(beside(0.01, 0.0, 0.0, 0.01, own_s=0.001))


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


def package(seconds: float, own_s: float, others_s: float, calls: int = 1) -> Window:
    """10 W idle, 20 W for this code and 20 W for a busy CPU of others."""
    joules = 10.0 * seconds + 20.0 * own_s + 20.0 * others_s
    return Window(seconds, {"package-0": joules}, calls, CpuSeconds(own_s, others_s))


def package_joules(window: Window) -> float:
    return window.joules["package-0"]


def beside_bursts(count: int, candidate: float, seed: int, order: str | None = None) -> list[Block]:
    """Blocks in which a neighbour is there for a random part of each window."""
    chance = random.Random(seed)
    blocks = []
    for _ in range(count):
        which = order or chance.choice(ORDERS)
        windows = []
        for letter in which:
            seconds = 0.075 * (candidate if letter == "B" else 1.0)
            windows.append(package(seconds, seconds, chance.random() * seconds))
        blocks.append(Block(which, tuple(windows)))
    return blocks


def spread_of(joules: list[tuple[float, float]]) -> float:
    return pstdev(math.log(a / b) for a, b in joules)


@pytest.mark.parametrize("candidate", [1.0, 1.1])
def test_the_neighbours_turns_leave_the_ratios(candidate):
    """They are known exactly here, so nothing is left of them once their watts are known."""
    blocks = beside_bursts(30, candidate, seed=3)
    counted = [(package_joules(b.side("A")), package_joules(b.side("B"))) for b in blocks]
    equal = joules_beside_equal_others(blocks, package_joules)
    assert spread_of(counted) > 0.1
    assert spread_of(equal[5:]) < 0.02
    assert equal[0] == counted[0]  # no block before it


def test_without_a_neighbour_ticks_change_little():
    chance = random.Random(5)
    blocks = []
    for _ in range(30):
        windows = []
        for _ in range(4):
            window = package(0.075, 0.075 * chance.gauss(1, 0.01), 0.0)
            ticks = CpuSeconds(window.cpu.own, chance.choice([-0.01, 0.0, 0.01]))
            windows.append(window._replace(cpu=ticks))
        blocks.append(Block("ABBA", tuple(windows)))
    counted = [(package_joules(b.side("A")), package_joules(b.side("B"))) for b in blocks]
    equal = joules_beside_equal_others(blocks, package_joules)
    assert spread_of(equal) < 1.2 * spread_of(counted)


def mirrored(block: Block) -> Block:
    """The same windows, had the coin fallen otherwise."""
    return Block("".join("BA"["AB".index(letter)] for letter in block.order), block.windows)


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=50)
def test_the_mirror_of_a_block_gets_the_opposite_correction(seed, count):
    """Whatever the blocks before were: the last coin exchanges its two numbers."""
    blocks = beside_bursts(count, 1.0, seed)
    last = joules_beside_equal_others(blocks, package_joules)[-1]
    other = joules_beside_equal_others([*blocks[:-1], mirrored(blocks[-1])], package_joules)[-1]
    assert other == pytest.approx(last[::-1])


def test_no_correction_turns_joules_negative():
    chance = random.Random(1)
    blocks = beside_bursts(10, 1.0, 2) + [
        Block("ABBA", tuple(package(0.075, 0.075, chance.choice([0, 5])) for _ in range(4)))
        for _ in range(20)
    ]
    for block in joules_beside_equal_others(blocks, package_joules):
        assert min(block) > 0


def test_a_server_that_works_for_the_candidate_leaves_no_bounds_for_joules():
    server = [
        Block("ABBA", (package(0.075, 0.075, 0.0), *[package(0.075, 0.075, 0.02)] * 2,
                       package(0.075, 0.075, 0.0)))
    ] * 12  # fmt: skip
    assert follow_a_side(server)
    meter = MeterInfo("powercap", "measured", (Domain("package-0"),), 0.001, 6e-5)
    ratios = gps_up(server, meter, 0.01)
    assert ratios.greenup.high == math.inf
    assert math.isfinite(ratios.speedup.high)


def test_a_neighbour_that_knows_nothing_of_the_coin_follows_no_side():
    follows = [follow_a_side(beside_bursts(16, 1.0, seed)) for seed in range(200)]
    assert sum(follows) <= 1


def of_joules(baseline: float, candidate: float, beside_baseline_s: float, beside_candidate_s=0.0):
    a = window(0.075, baseline)._replace(cpu=CpuSeconds(0.075, beside_baseline_s))
    b = window(0.075, candidate)._replace(cpu=CpuSeconds(0.075, beside_candidate_s))
    return Block("ABBA", (a, b, b, a))


UNEQUAL = [of_joules(5.0, 2.0, 0.15), of_joules(2.0, 5.0, 0.0, 0.15)]


def test_unequal_blocks_count_for_time_and_not_for_joules():
    needed = fewest_blocks(0.01)
    ratios = gps_up([of_joules(2.0, 2.0, 0.0)] * needed + UNEQUAL * needed, SENSOR, 0.01)
    assert (ratios.greenup.low, ratios.greenup.high) == pytest.approx((1.0, 1.0))
    assert (ratios.powerup.low, ratios.powerup.high) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("equal", [0, 3])
def test_too_few_equal_blocks_leave_the_bounds_of_joules_unknown(equal):
    ratios = gps_up([of_joules(2.0, 2.0, 0.0)] * equal + UNEQUAL * 10, SENSOR, 0.01)
    assert ratios.greenup.high == ratios.powerup.high == math.inf
    assert math.isfinite(ratios.speedup.high)

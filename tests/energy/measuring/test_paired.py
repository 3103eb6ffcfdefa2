"""Paired comparisons, with a meter that has known joules."""

import itertools
import random
import sys
from dataclasses import replace
from functools import partial

import pytest

from pytest_energy import versus
from pytest_energy.errors import OptionError
from pytest_energy.measuring.paired import (
    SHORTEST_PAIRED_WINDOW_S,
    SHORTEST_WINDOW_S,
    comparison_of,
    match_calls,
    never,
    take_blocks,
    versus_many,
)
from pytest_energy.meters import info
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import COUNTER_SHARE, counter_error, fewest_blocks, gps_up
from tests.energy.rigs.clock_meter import ClockMeter, VirtualClock
from tests.energy.rigs.made_up import SENSOR, block, window

SHORT = Plan(max_time_s=1.0)


def work(steps=20_000):
    return sum(range(steps))


def double():
    return work(40_000)


def test_twice_the_work_has_half_the_speedup_and_half_the_greenup(clock):
    def double():
        clock.work(0.0002)

    comparison = versus(
        partial(clock.work, 0.0001),
        double,
        meter=ClockMeter(clock=clock),
        plan=Plan(max_time_s=2.0),
    )
    assert comparison.speedup.value == pytest.approx(0.5, rel=0.02)
    assert comparison.speedup.high < 0.55
    assert comparison.greenup.value == pytest.approx(comparison.speedup.value, rel=0.02)
    assert comparison.powerup.value == pytest.approx(1.0, rel=0.02)


def test_the_same_code_twice_shows_no_difference(clock):
    noise = random.Random(5)

    def noisy():
        clock.work(0.001 * noise.uniform(0.9, 1.1))

    comparison = versus(
        noisy,
        noisy,
        meter=ClockMeter(update_interval_s=1e-6, clock=clock),
        plan=Plan(max_time_s=2.0),
        coin=random.Random(6),
    )
    assert comparison.speedup.low <= 1 <= comparison.speedup.high
    assert comparison.category is None


def test_each_block_has_a_random_order_and_each_side_twice():
    comparison = versus(
        work, work, meter=ClockMeter(), plan=Plan(max_time_s=1.0), coin=random.Random(7)
    )
    assert {block.order for block in comparison.blocks} == {"ABBA", "BAAB"}
    assert all(len(block.windows) == 4 for block in comparison.blocks)
    assert all(
        block.side("A").calls > 0 and block.side("B").calls > 0 for block in comparison.blocks
    )


def test_a_comparison_stops_when_it_is_decided(clock):
    began_s = clock.now_s
    comparison = versus(
        partial(clock.work, 0.0001),
        partial(clock.work, 0.0002),
        meter=ClockMeter(clock=clock),
        plan=Plan(max_time_s=60.0),
        decided=lambda ratios: ratios.speedup.high < 0.9,
    )
    assert clock.now_s - began_s < 30
    assert comparison.speedup.high < 0.9


def blocks_within(clock, plan, window_s):
    """The blocks of two sides whose windows take this long."""

    def take():
        clock.work(4 * window_s)
        return block(window(window_s, 1.0), window(window_s, 1.0))

    return take_blocks(take, SENSOR, plan, never, clock)


@pytest.mark.parametrize("alarm_alpha", [None, 0.001])
def test_a_short_time_still_gets_the_fewest_blocks_for_an_interval(alarm_alpha, clock):
    """One test of many gets those that its alarm needs."""
    plan = Plan(max_time_s=0.2, alarm_alpha=alarm_alpha)
    assert len(blocks_within(clock, plan, 0.01)) == fewest_blocks(plan.least_alpha)


def test_slow_code_stops_after_four_times_the_time_without_bounds(clock):
    plan = Plan(max_time_s=0.2)
    blocks = blocks_within(clock, plan, 0.1)
    assert len(blocks) == 2
    comparison = comparison_of("slow", blocks, SENSOR, plan.alpha)
    assert comparison.speedup.high == float("inf")
    assert comparison.category is None


def test_the_ratios_follow_from_the_raw_blocks():
    meter = ClockMeter()
    comparison = versus(work, double, meter=meter, plan=Plan(max_time_s=0.5))
    again = gps_up(comparison.blocks, info(meter), 0.01)
    assert (again.speedup, again.greenup, again.powerup) == (
        comparison.speedup,
        comparison.greenup,
        comparison.powerup,
    )


def test_versus_without_a_meter_opens_and_closes_one(monkeypatch):
    meter = ClockMeter()
    monkeypatch.setattr(sys.modules["pytest_energy.measuring.paired"], "open_meter", lambda: meter)
    versus(work, work, plan=Plan(max_time_s=0.2))
    assert meter.closed


@pytest.fixture
def clock(monkeypatch):
    """A virtual clock for the modules of measuring/. Only `work` and readings advance it."""
    clock = VirtualClock()
    for module in (
        "pytest_energy.measuring.single",
        "pytest_energy.measuring.window",
        "pytest_energy.measuring.paired",
    ):
        monkeypatch.setattr(sys.modules[module], "now_s", clock)
    # The CPU seconds of other processes come from the real machine, which may be busy.
    monkeypatch.setattr(sys.modules["pytest_energy.measuring.window"], "cpu_seconds", lambda: None)
    return clock


@pytest.mark.parametrize("tolerance", [0.03, 0.005])
def test_windows_are_short_where_time_alone_decides(tolerance, clock):
    """So that little of what changes with time differs between them."""
    meter = ClockMeter(update_interval_s=1e-6, clock=clock)
    meter.provenance = "estimated"
    plan = replace(SHORT, tolerance=tolerance)
    comparison = versus(clock.work, clock.work, 0.00002, meter=meter, plan=plan)
    lengths = [window.seconds for block in comparison.blocks for window in block.windows]
    assert min(lengths) >= SHORTEST_PAIRED_WINDOW_S
    assert max(lengths) < 1.5 * SHORTEST_PAIRED_WINDOW_S


def test_windows_are_longer_where_one_side_is_far_cheaper(clock):
    """After each window of the other side, its first call finds cold caches."""
    meter = ClockMeter(update_interval_s=1e-6, clock=clock)
    meter.provenance = "estimated"
    cheap, dear = partial(clock.work, 0.00002), partial(clock.work, 0.002)
    comparison = versus(dear, cheap, meter=meter, plan=SHORT)
    assert min(block.side("B").seconds / 2 for block in comparison.blocks) > 0.9 * SHORTEST_WINDOW_S


def test_windows_are_longer_where_estimated_joules_decide_too(clock):
    meter = ClockMeter(update_interval_s=1e-6, clock=clock)
    meter.provenance = "estimated"
    plan = replace(SHORT, tolerance=0.005, gate_estimates=True)
    comparison = versus(clock.work, clock.work, 0.00002, meter=meter, plan=plan)
    assert counter_error(comparison.blocks, info(meter)) < 0.005 * COUNTER_SHARE


@pytest.mark.parametrize(
    ("seconds", "matched"),
    [
        ({"A": 0.00096, "B": 0.00101}, {"A": 4, "B": 4}),
        ({"B": 0.00101, "A": 0.00096}, {"A": 4, "B": 4}),
        ({"A": 0.001, "B": 0.0021}, {"A": 4, "B": 3}),
        ({"A": 0.0, "B": 0.0}, {"A": 4, "B": 4}),  # calls with a setup each
    ],
)
def test_similar_sides_get_the_same_calls_per_window(seconds, matched):
    """4 calls end after the time slice and 3 before it, so equal code looked a third faster."""
    assert match_calls({"A": 4, "B": 3}, seconds) == matched


def test_a_disturbed_warm_up_does_not_change_the_calls_per_window(clock, monkeypatch):
    monkeypatch.setattr(
        sys.modules["pytest_energy.measuring.paired"],
        "warm_up",
        lambda call, budget_s: next(disturbed_s),
    )
    disturbed_s = iter([0.0003, 0.0009])
    meter = ClockMeter(update_interval_s=1e-6, clock=clock)
    comparison = versus(clock.work, clock.work, 0.0003, meter=meter, plan=SHORT)
    assert len({window.calls for block in comparison.blocks for window in block.windows}) == 1


@pytest.mark.parametrize(
    ("seconds", "yields"),
    [(0.0004, False), (0.0015, True), (0.0022, True), (0.0024, False), (0.01, False)],
)
def test_either_all_windows_yield_the_cpu_first_or_none(seconds, yields, clock, monkeypatch):
    yielded_at_s = []
    monkeypatch.setattr(
        sys.modules["pytest_energy.measuring.paired"],
        "yield_cpu",
        lambda: yielded_at_s.append(clock.now_s),
    )
    slower = partial(clock.work, seconds * 1.1)
    comparison = versus(
        clock.work,
        lambda _: slower(),
        seconds,
        meter=ClockMeter(update_interval_s=1e-6, clock=clock),
        plan=SHORT,
    )
    assert len(yielded_at_s) == 4 * len(comparison.blocks) * yields


@pytest.mark.parametrize("tolerance", [0.03, 0.01])
def test_windows_of_a_slower_counter_are_long_enough_for_the_gate(tolerance, clock):
    meter = ClockMeter(update_interval_s=0.001, clock=clock)
    comparison = versus(clock.work, clock.work, 0.001, meter=meter, plan=Plan(tolerance=tolerance))
    error = counter_error(comparison.blocks, info(meter))
    assert tolerance * COUNTER_SHARE / 2 < error < 0.9 * tolerance * COUNTER_SHARE


def test_later_blocks_are_judged_less_often():
    looks = []

    def decided(ratios):
        looks.append(ratios)
        return False

    seconds = itertools.count()
    alike = block(window(1.0, 1.0), window(1.0, 1.0))
    plan = Plan(max_time_s=400.0)
    blocks = take_blocks(lambda: alike, SENSOR, plan, decided, clock=lambda: float(next(seconds)))
    assert len(blocks) == 400
    assert len(looks) < 100


MANY = {"same": 0.001, "slower": 0.00105, "twice": 0.002}


def many(clock, **more):
    candidates = {name: partial(clock.work, seconds) for name, seconds in MANY.items()}
    meter = ClockMeter(update_interval_s=1e-6, clock=clock)
    return versus_many(clock.work, candidates, meter=meter, coin=random.Random(3), **more)


def test_each_of_many_candidates_is_compared_with_the_baseline(clock):
    compared = many(clock, plan=Plan(max_time_s=1.0))
    assert list(compared) == list(MANY)
    for name, comparison in compared.items():
        assert comparison.speedup.value == pytest.approx(0.001 / MANY[name], rel=0.01)
        assert comparison.greenup.value == pytest.approx(comparison.speedup.value, rel=1e-6)


def test_many_candidates_share_the_baselines_windows(clock):
    compared = many(clock, plan=Plan(max_time_s=1.0))
    for blocks in zip(*(comparison.blocks for comparison in compared.values()), strict=True):
        baseline_windows = [
            [w for letter, w in zip(b.order, b.windows, strict=True) if letter == "A"]
            for b in blocks
        ]
        assert all(windows == baseline_windows[0] for windows in baseline_windows)
    assert {b.order for comparison in compared.values() for b in comparison.blocks} == {
        "ABBA",
        "BAAB",
    }


def test_each_of_many_candidates_stops_when_it_is_decided(clock):
    compared = many(
        clock, plan=Plan(max_time_s=1.0), decided=lambda ratios: ratios.speedup.high < 0.9
    )
    assert len(compared["twice"].blocks) == fewest_blocks(0.01)
    assert len(compared["same"].blocks) > 5 * fewest_blocks(0.01)


def test_steady_drift_cancels_for_each_of_many_candidates(clock):
    """Each call is slower than the call before it, by up to a third within a block."""
    calls = itertools.count()

    def work():
        clock.work(0.001 * (1 + 0.02 * next(calls)))

    compared = versus_many(
        work,
        {"same": work, "also": work},
        meter=ClockMeter(update_interval_s=1e-6, clock=clock),
        plan=Plan(max_time_s=5.0),
    )
    for comparison in compared.values():
        assert comparison.speedup.value == pytest.approx(1.0, rel=1e-3)


def test_versus_many_requires_a_candidate():
    with pytest.raises(OptionError, match="no candidate"):
        versus_many(work, {}, meter=ClockMeter())

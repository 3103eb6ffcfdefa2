"""Comparisons in turns, against a meter whose truth is known."""

import random
import sys
import time

import pytest

from pytest_energy import versus
from pytest_energy.gpsup import gps_up
from pytest_energy.measure import Plan
from pytest_energy.meters import info
from pytest_energy.stats import blocks_needed
from tests.energy.rigs.clock_meter import ClockMeter


def work(steps=20_000):
    return sum(range(steps))


def double():
    return work(40_000)


def test_twice_the_work_is_half_the_speed_and_half_the_greenup():
    comparison = versus(work, double, meter=ClockMeter(), plan=Plan(max_time_s=2.0))
    assert comparison.speedup.value == pytest.approx(0.5, rel=0.15)
    assert comparison.speedup.high < 0.75
    assert comparison.greenup.value == pytest.approx(comparison.speedup.value, rel=0.02)
    assert comparison.powerup.value == pytest.approx(1.0, rel=0.02)


def test_the_same_code_twice_shows_no_difference():
    comparison = versus(work, work, meter=ClockMeter(), plan=Plan(max_time_s=2.0))
    assert comparison.speedup.low <= 1 <= comparison.speedup.high
    assert comparison.category is None


def test_blocks_are_turned_by_a_coin_and_hold_both_sides_twice():
    comparison = versus(work, work, meter=ClockMeter(), plan=Plan(max_time_s=1.0), coin=random.Random(7))
    assert {block.order for block in comparison.blocks} == {"ABBA", "BAAB"}
    assert all(len(block.windows) == 4 for block in comparison.blocks)
    assert all(block.side("A").calls > 0 and block.side("B").calls > 0 for block in comparison.blocks)


def test_it_stops_as_soon_as_the_question_is_decided():
    plan = Plan(max_time_s=60.0)
    began = time.perf_counter()
    comparison = versus(work, double, meter=ClockMeter(), plan=plan, decided=lambda ratios: ratios.speedup.high < 0.9)
    assert time.perf_counter() - began < 30
    assert comparison.speedup.high < 0.9


def test_it_takes_the_blocks_that_an_interval_needs_even_where_the_time_is_short():
    comparison = versus(time.sleep, time.sleep, 0.01, meter=ClockMeter(), plan=Plan(max_time_s=0.2))
    assert len(comparison.blocks) == blocks_needed(0.01)


def test_it_gives_up_on_slow_code_after_four_times_the_time_and_bounds_nothing():
    comparison = versus(time.sleep, time.sleep, 0.1, meter=ClockMeter(), plan=Plan(max_time_s=0.2))
    assert len(comparison.blocks) < blocks_needed(0.01)
    assert comparison.speedup.high == float("inf")
    assert comparison.category is None


def test_the_ratios_are_those_of_the_raw_blocks():
    meter = ClockMeter()
    comparison = versus(work, double, meter=meter, plan=Plan(max_time_s=0.5))
    again = gps_up(comparison.blocks, info(meter), 0.01)
    assert (again.speedup, again.greenup, again.powerup) == (comparison.speedup, comparison.greenup, comparison.powerup)


def test_without_a_meter_it_opens_one_and_closes_it(monkeypatch):
    meter = ClockMeter()
    monkeypatch.setattr(sys.modules["pytest_energy.versus"], "open_meter", lambda: meter)
    versus(work, work, plan=Plan(max_time_s=0.2))
    assert meter.closed

"""From windows to joules, watts and seconds per call."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.model import Interval
from pytest_energy.stats.per_call import figures, idle_watts
from tests.energy.rigs.made_up import ESTIMATE, SENSOR, measurement, results, seconds, window

# 6 windows are the fewest for a 95 % interval of the median: the least to the greatest.
SIX = tuple(window(seconds=0.1 + i / 100, joules=(0.1 + i / 100) * 20, calls=10) for i in range(6))
IDLE = tuple(window(seconds=1.0, joules=5.0, calls=0) for _ in range(6))


def test_figures_are_per_call():
    seen = figures(measurement(*SIX))
    assert seen.seconds == Interval(
        pytest.approx(0.0125), pytest.approx(0.01), pytest.approx(0.015)
    )
    assert seen.joules == Interval(pytest.approx(0.25), pytest.approx(0.2), pytest.approx(0.3))
    assert seen.watts == Interval(pytest.approx(20.0), pytest.approx(20.0), pytest.approx(20.0))
    assert seen.domains == pytest.approx({"package-0": 0.1875, "core-0": 0.125, "dram-0": 0.0625})


def test_the_total_counts_no_domain_twice():
    seen = figures(measurement(*SIX))
    assert seen.joules.value == pytest.approx(seen.domains["package-0"] + seen.domains["dram-0"])


def test_net_joules_are_total_joules_minus_idle_joules():
    seen = figures(measurement(*SIX, idle=IDLE))
    assert seen.net_joules.value == pytest.approx(0.0125 * (20 - 5))
    assert idle_watts(measurement(*SIX, idle=IDLE)) == Interval(5.0, 5.0, 5.0)


def test_net_joules_are_unknown_without_idle_windows():
    seen = figures(measurement(*SIX))
    assert seen.net_joules is None
    assert idle_watts(measurement(*SIX)) is None


def test_net_joules_can_be_negative():
    """A call sleeps at 2 W; another process used 5 W in the idle windows."""
    windows = [window(seconds=1.0 + i / 10, joules=2.0 * (1.0 + i / 10)) for i in range(6)]
    net = figures(measurement(*windows, idle=IDLE)).net_joules
    assert net == Interval(pytest.approx(-3.75), pytest.approx(-4.5), pytest.approx(-3.0))


def test_too_few_windows_leave_the_bounds_unknown():
    seen = figures(measurement(*SIX[:5], idle=IDLE))
    for interval in (seen.joules, seen.watts, seen.seconds):
        assert (interval.low, interval.high) == (0.0, math.inf)
    assert (seen.net_joules.low, seen.net_joules.high) == (-math.inf, math.inf)


def test_a_counter_that_stood_still_gives_no_joules():
    still = window(seconds=0.1, joules=0.0, calls=10)
    seen = figures(measurement(*SIX, still, idle=IDLE))
    assert (seen.joules, seen.net_joules, seen.watts) == (None, None, None)
    assert seen.seconds.value > 0


def test_the_bounds_of_an_estimate_include_its_band():
    measured, estimated = (
        figures(measurement(*SIX, meter=meter, idle=IDLE)) for meter in (SENSOR, ESTIMATE)
    )
    for name in ("joules", "net_joules", "watts"):
        plain, banded = getattr(measured, name), getattr(estimated, name)
        assert banded == Interval(plain.value, plain.low * 0.5, plain.high * 2.0)
    assert estimated.seconds == measured.seconds
    assert estimated.domains == measured.domains


def test_the_band_widens_negative_net_joules():
    windows = [window(seconds=1.0, joules=2.0)] * 6
    assert figures(measurement(*windows, meter=ESTIMATE, idle=IDLE)).net_joules == Interval(
        -3.0, -6.0, -1.5
    )


@given(results())
def test_each_value_lies_within_its_bounds(result):
    seen = figures(result.measurement)
    for interval in (seen.joules, seen.net_joules, seen.watts, seen.seconds):
        assert interval is None or interval.low <= interval.value <= interval.high
    assert (seen.joules is None) == (seen.watts is None)


@given(
    st.lists(st.tuples(seconds, st.floats(1e-6, 1e6)), min_size=1, max_size=10),
    st.integers(1, 1000),
)
def test_joules_and_seconds_are_divided_by_the_calls(sums, calls):
    one = figures(measurement(*(window(*one_sum) for one_sum in sums)))
    many = figures(measurement(*(window(*one_sum, calls=calls) for one_sum in sums)))
    assert many.joules.value == pytest.approx(one.joules.value / calls)
    assert many.seconds.value == pytest.approx(one.seconds.value / calls)
    assert many.watts.value == pytest.approx(one.watts.value)

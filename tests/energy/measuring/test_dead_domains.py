"""A domain that stands still, and joules that no device counts, whichever meter they are from."""

import math

import pytest

from pytest_energy.errors import MeterFailed
from pytest_energy.measuring.single import find_warnings
from pytest_energy.measuring.window import idle_windows, take_window
from pytest_energy.model import Domain, Window
from pytest_energy.plan import Plan
from tests.energy.rigs.clock_meter import ClockMeter

DOMAINS = (Domain("package-0"), Domain("dram-0"), Domain("uncore-0", "package-0"))


@pytest.mark.parametrize(
    ("joules", "dead"),
    [
        ({"package-0": 4.0, "dram-0": 0.0, "uncore-0": 0.0}, ["dram-0"]),
        ({"package-0": 0.0, "dram-0": 0.3, "uncore-0": 0.0}, ["package-0"]),
        ({"package-0": 4.0, "dram-0": 0.1, "uncore-0": 0.0}, []),  # a nested domain may be idle
        ({"package-0": 0.001, "dram-0": 0.0, "uncore-0": 0.0}, []),  # too few joules to decide
    ],
)
def test_a_warning_names_the_domain_that_stands_still(joules, dead):
    meter = ClockMeter()
    meter.domains = DOMAINS
    windows = tuple(Window(0.2, joules, 5) for _ in range(8))
    warnings = find_warnings(meter, windows, Plan())
    named = [w.split(" stood")[0] for w in warnings if "stood still in all 8 windows" in w]
    assert named == dead


class Garbage(ClockMeter):
    """A meter of another package whose readings 2, 3, ... are wrong as long as there are values."""

    def __init__(self, *values: float):
        super().__init__()
        self._values = list(values)

    def read(self):
        reading = super().read()
        if self.reads > 1 and self._values:
            return reading._replace(joules={**reading.joules, "core-0": self._values.pop(0)})
        return reading


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e12, -5.0])
def test_one_impossible_reading_voids_one_window_of_any_meter(value):
    reasons: list[str] = []
    window = take_window(Garbage(value), int, 1, Plan(on_void_window=reasons.append))
    assert all(0 <= joules < 1e6 for joules in window.joules.values())
    (reason,) = reasons
    assert "core-0 counted" in reason and "this window is void" in reason


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_meter_with_impossible_readings_fails_at_its_first_idle_windows(value):
    with pytest.raises(MeterFailed, match="core-0 counted .* this window is void"):
        idle_windows(Garbage(*[value] * 50))


@pytest.mark.slow
def test_a_counter_that_freezes_within_a_run_fails_with_its_name():
    meter = ClockMeter(update_interval_s=0.02, frozen_after_s=0.0)
    with pytest.raises(MeterFailed, match="did not move for .* the counter is frozen"):
        take_window(meter, int, 1, Plan())

"""A domain that stands still while others move gets a warning."""

import pytest

from pytest_energy.measuring.single import find_warnings
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

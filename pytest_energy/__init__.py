"""Joules, watts and seconds around code, compared honestly, and gated in pytest."""

from pytest_energy.errors import EnergyError, MeterFailed, MeterUnavailable, OptionError
from pytest_energy.figures import Figures, figures
from pytest_energy.measure import Plan, measure
from pytest_energy.meters import Meter, MeterSettings, open_meter
from pytest_energy.reading import Comparison, Domain, Interval, Measurement, Reading, Window
from pytest_energy.versus import versus

__all__ = [
    "Comparison",
    "Domain",
    "EnergyError",
    "Figures",
    "Interval",
    "Measurement",
    "Meter",
    "MeterFailed",
    "MeterSettings",
    "MeterUnavailable",
    "OptionError",
    "Plan",
    "Reading",
    "Window",
    "figures",
    "measure",
    "open_meter",
    "versus",
]

"""Joules, watts and seconds around code, compared honestly, and gated in pytest."""

from pytest_energy.errors import EnergyError, MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import Meter, MeterSettings, open_meter

__all__ = ["EnergyError", "Meter", "MeterFailed", "MeterSettings", "MeterUnavailable", "OptionError", "open_meter"]

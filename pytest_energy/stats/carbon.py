"""Joules as grams of CO2e, by the carbon intensity that the user gives; none is guessed."""

from __future__ import annotations

JOULES_PER_KWH = 3.6e6
# Grams of one call are too few to read, so they are reported per million calls.
CALLS = 1e6


def grams_per_million_calls(joules: float, grams_per_kwh: float) -> float:
    """Grams of CO2e per million calls, from joules per call and grams per kWh.

    >>> grams_per_million_calls(3.6, 400)
    400.0
    """
    return joules * CALLS / JOULES_PER_KWH * grams_per_kwh

"""Joules as grams of CO2e, by a figure that the user gives: there is no built-in guess of where the user is."""

from __future__ import annotations

import math

from pytest_energy.errors import OptionError

JOULES_PER_KWH = 3.6e6
CALLS = 1e6
"""Grams of one call are too few to read: they are told per million calls."""


def grams_per_million_calls(joules: float, grams_per_kwh: float) -> float:
    """Grams of CO2e of a million calls, of joules per call and the carbon intensity of the electricity.

    >>> grams_per_million_calls(3.6, 400)
    400.0
    """
    return joules * CALLS / JOULES_PER_KWH * grams_per_kwh


def carbon_intensity(text: str | None, flag: str = "--carbon-intensity") -> float | None:
    """Grams of CO2e per kWh as the user gave them; None where nothing was given. Raises `OptionError`."""
    if not text:
        return None
    try:
        grams = float(text)
    except ValueError:
        grams = math.nan
    if not 0 <= grams < math.inf:
        raise OptionError(
            f"{flag} takes the grams of CO2e per kWh of your electricity, 0 or more, such as 400, not {text!r}"
        )
    return grams

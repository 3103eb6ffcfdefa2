"""Numbers as people read them: a unit that suits the value, and digits that mean something."""

from __future__ import annotations

import math

from pytest_energy.model import Interval, at_place
from pytest_energy.stats.si_prefixes import scale_for

UNKNOWN = "unknown"


def digits(value: float) -> str:
    """Three significant digits, without an exponent.

    >>> [digits(v) for v in (0.01234, 1.2, 12.34, 123.4, 12345.0)]
    ['0.0123', '1.20', '12.3', '123', '12345']
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return at_place(value, min(max(0, 2 - math.floor(math.log10(abs(value)))), 6))


def with_unit(value: float | None, unit: str) -> str:
    """A value in the unit that suits it.

    >>> with_unit(0.00151, "s"), with_unit(None, "J")
    ('1.51 ms', 'unknown')
    """
    if value is None:
        return UNKNOWN
    factor, name = scale_for([value], unit)
    return f"{digits(value * factor)} {name}"


def before_after(before: float | None, after: float | None, unit: str) -> str:
    """Two values in one unit.

    >>> before_after(177e-6, 293e-6, "s")
    '177 → 293 µs'
    """
    known = [value for value in (before, after) if value is not None]
    if not known:
        return UNKNOWN
    factor, name = scale_for(known[-1:], unit)
    shown = ["?" if value is None else digits(value * factor) for value in (before, after)]
    return f"{shown[0]} → {shown[1]} {name}"


def interval_text(interval: Interval | None) -> str:
    """``1.63 [1.60, 1.66]``, or a word where it is unknown."""
    return UNKNOWN if interval is None else f"{interval}"


def bounds(interval: Interval) -> str:
    """The bounds alone: ``[1.60, 1.66]``."""
    return f"{interval}".partition(" ")[2]


def spread_text(interval: Interval | None) -> str:
    """Half the interval as a share of the value.

    >>> spread_text(Interval(100.0, 98.0, 102.0)), spread_text(Interval(1.0, 0.0, math.inf))
    ('±2 %', '')
    """
    if interval is None or not math.isfinite(interval.high) or interval.value <= 0:
        return ""
    share = 50 * (interval.high - interval.low) / interval.value
    return f"±{at_place(share, 0 if share >= 0.95 else 1)} %"

"""Numbers as people read them: one unit down a column, three digits that mean something."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_energy.model import Interval

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def scale_for(values: Iterable[float], unit: str) -> tuple[float, str]:
    """The factor and the unit's name that suit the middle one of these values."""
    ordered = sorted(abs(value) for value in values if value and math.isfinite(value))
    if not ordered:
        return 1.0, unit
    middle = ordered[len(ordered) // 2]
    size, prefix = next(
        ((size, prefix) for size, prefix in PREFIXES if middle >= size), PREFIXES[-1]
    )
    return 1 / size, prefix + unit


def digits(value: float) -> str:
    """Three significant digits, no exponent where it can be helped.

    >>> [digits(v) for v in (0.01234, 1.2, 12.34, 123.4, 12345.0)]
    ['0.0123', '1.20', '12.3', '123', '12345']
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 6)}f}"


def with_bounds(interval: Interval | None) -> str:
    """``1.63 [1.60, 1.66]``, or words where it is not known."""
    return "not known" if interval is None else f"{digits(interval.value)} {bounds(interval)}"


def bounds(interval: Interval) -> str:
    """``[1.60, 1.66]``, or a word where the bounds are not known."""
    if not math.isfinite(interval.high):
        return "[unknown]"
    return f"[{digits(interval.low)}, {digits(interval.high)}]"

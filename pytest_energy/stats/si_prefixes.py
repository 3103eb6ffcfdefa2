"""The SI prefix that suits a value."""

from __future__ import annotations

import math
from collections.abc import Iterable

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def scale_for(values: Iterable[float], unit: str) -> tuple[float, str]:
    """The factor and the unit's name that suit the middle one of these values.

    >>> scale_for([0.002, 0.003, 5.0], "s")
    (1000.0, 'ms')
    """
    ordered = sorted(abs(value) for value in values if value and math.isfinite(value))
    if not ordered:
        return 1.0, unit
    middle = ordered[len(ordered) // 2]
    size, prefix = next(
        ((size, prefix) for size, prefix in PREFIXES if middle >= size), PREFIXES[-1]
    )
    return 1 / size, prefix + unit

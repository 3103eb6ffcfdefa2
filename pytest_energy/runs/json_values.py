"""Checks of single JSON values. All raise `TypeError` or `ValueError` with the value."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

MAX_FLOAT = sys.float_info.max
# What code raises that reads a value of another type or size.
UNREADABLE = (TypeError, ValueError, AttributeError, ArithmeticError)
# What JSON calls Python's types.
NAMES = {dict: "object", list: "array", type(None): "null"}


def of_type(kind: type | tuple[type, ...], value: Any) -> Any:
    """The value, if it is of this type."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(NAMES.get(each, each.__name__) for each in kinds)
        raise TypeError(f"{shown(value)} is not a value of type {expected}")
    return value


def objects(value: Any) -> list[dict[str, Any]]:
    """The value, if it is a list of JSON objects."""
    return [of_type(dict, each) for each in of_type(list, value)]


def numbers(value: Any) -> dict[str, int]:
    """The value, if it is an object of numbers from 0, which become whole."""
    items = of_type(dict, value).items()
    return {of_type(str, name): int(number(each, 0)) for name, each in items}


def texts(value: Any) -> tuple[str, ...]:
    """The value, if it is a list of strings."""
    return tuple(of_type(str, each) for each in of_type(list, value))


def one_of(allowed: Sequence[str], value: Any) -> Any:
    """The value, if it is one of these."""
    if value not in allowed:
        raise ValueError(f"{shown(value)} is not one of {', '.join(allowed)}")
    return value


def number(value: Any, lowest: float = -math.inf, highest: float = MAX_FLOAT) -> float:
    """A finite number. Python's json also reads NaN, Infinity and 1e999, and True is an int."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not lowest <= value
        or not abs(value) <= highest
    ):
        raise ValueError(
            f"{shown(value)} is not a finite number"
            + (f" of {lowest} or more" if math.isfinite(lowest) else "")
            + (f" and {highest:g} or less" if highest < MAX_FLOAT else "")
        )
    return float(value)


def finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN: null means unknown."""
    return value if math.isfinite(value) else None


def shown(value: Any) -> str:
    """The value in an error: short, and printable on any terminal."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an int of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}..."

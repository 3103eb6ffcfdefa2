"""The ``energy`` and ``gps_up`` markers: from keywords to a `Gate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pytest

from pytest_energy.errors import OptionError
from pytest_energy.gate import Budget, Gate, Thresholds
from pytest_energy.options import Options
from pytest_energy.plugin.stash import GATE


@dataclass(frozen=True)
class Mark:
    """A marker's name and arguments, as pytest gives them."""

    name: str
    args: tuple[object, ...]
    kwargs: Mapping[str, Any]


def read_gate(item: pytest.Item, options: Options) -> None:
    """Store the gate of a test on it. Raises `pytest.UsageError`."""
    try:
        item.stash[GATE] = gate_from_marks(
            _all_marks(item, "energy"), _all_marks(item, "gps_up"), options
        )
    except OptionError as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def _all_marks(item: pytest.Item, name: str) -> Mark | None:
    """The keywords of all markers of this name: the test's, its class's and its module's.

    The closest marker with a keyword decides its value. With the closest marker alone, a limit of
    the class gated nothing if the test had another one.
    """
    marks = list(item.iter_markers(name))
    if not marks:
        return None
    kwargs = {key: value for mark in reversed(marks) for key, value in mark.kwargs.items()}
    return Mark(name, tuple(value for mark in marks for value in mark.args), kwargs)


def gate_from_marks(energy: Mark | None, gps_up: Mark | None, options: Options) -> Gate:
    """The requirements of one test. Raises `OptionError` for unknown keywords and wrong values."""
    tolerance = options.plan.tolerance
    budget, thresholds = Budget(), None
    if energy is not None:
        values = _keywords(energy, [field.name for field in fields(Budget)] + ["tolerance"])
        tolerance = values.pop("tolerance", tolerance)
        if not tolerance < 1:
            raise OptionError(
                "tolerance of the energy marker must lie in (0, 1), such as 0.03 for 3 %, "
                f"not {tolerance!r}"
            )
        budget = Budget(**values)
    if gps_up is not None:
        thresholds = Thresholds(**_keywords(gps_up, [field.name for field in fields(Thresholds)]))
    return Gate(
        budget,
        thresholds,
        tolerance,
        options.gate_estimates,
        options.count_tolerance,
        net=options.net,
    )


def _keywords(mark: Mark, allowed: list[str]) -> dict[str, float]:
    if mark.args:
        raise OptionError(
            f"the {mark.name} marker takes keywords only ({', '.join(allowed)}), not {mark.args!r}"
        )
    for key, value in mark.kwargs.items():
        if key not in allowed:
            raise OptionError(
                f"the {mark.name} marker has no keyword {key!r}; it has {', '.join(allowed)}"
            )
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 < value <= sys.float_info.max
        ):
            raise OptionError(
                f"{key} of the {mark.name} marker must be a finite number above 0, not {value!r}"
            )
    return {key: float(value) for key, value in mark.kwargs.items()}

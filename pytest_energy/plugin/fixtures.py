"""The ``energy`` fixture."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pytest_energy.errors import FixtureMisuse
from pytest_energy.measuring.single import call_once
from pytest_energy.model import Comparison, Quality

if TYPE_CHECKING:
    from pytest_energy.plugin.recorder import Recorder

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True

# The fixtures by which a test measures: ours, and pytest-benchmark's.
MEASURING_FIXTURES = frozenset({"energy", "benchmark"})

T = TypeVar("T")


class EnergyFixture:
    """Measures a call or compares two. Without ``--energy`` it only calls, and checks floors."""

    def __init__(self, recorder: Recorder | None):
        self._recorder = recorder
        self.failed_floors: list[Quality] = []

    @property
    def enabled(self) -> bool:
        """Whether this run measures joules."""
        return self._recorder is not None

    def __call__(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Measure ``function(*args, **kwargs)`` and return its result. Once per test."""
        call = partial(function, *args, **kwargs)
        result = call_once(call)
        if self._recorder is not None:
            self._recorder.measure(call)
        return result

    def versus(
        self,
        baseline: Callable[..., object],
        candidate: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> Comparison | None:
        """Measure ``baseline`` and ``candidate``, with the same arguments, in turns. Once per test.

        Returns the comparison. Without ``--energy``, calls each once and returns None.
        """
        calls = partial(baseline, *args, **kwargs), partial(candidate, *args, **kwargs)
        for call in calls:
            call_once(call)
        return self._recorder.versus(*calls) if self._recorder is not None else None

    def quality(self, name: str, value: float, floor: float | None = None) -> None:
        """Report a quality that must not be traded for energy, such as an accuracy.

        The test fails if ``value`` is below ``floor``.
        """
        quality = Quality(name, float(value), None if floor is None else float(floor))
        if quality.floor is not None and not math.isfinite(quality.floor):
            raise FixtureMisuse(f"the floor of {name!r} must be a finite number, not {floor!r}")
        if self._recorder is not None:
            self._recorder.quality(quality)
        if quality.floor is not None and not quality.value >= quality.floor:
            self.failed_floors.append(quality)

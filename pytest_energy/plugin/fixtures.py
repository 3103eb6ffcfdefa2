"""The ``energy`` fixture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pytest_energy.errors import FixtureMisuse
from pytest_energy.measuring.single import call_once
from pytest_energy.model import Comparison, Quality

if TYPE_CHECKING:
    from pytest_energy.plugin.recorder import Recorder

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True

# The fixtures that measure: this plugin's and pytest-benchmark's.
MEASURING_FIXTURES = frozenset({"energy", "benchmark"})

T = TypeVar("T")


class EnergyFixture:
    """Measures a call or compares two. Without ``--energy`` it only calls, and checks floors."""

    def __init__(self, recorder: Recorder | None):
        self._recorder = recorder
        self._measured = False
        self._phase = ""
        """The name of the phase that is running."""
        self._items: int | None = None
        self.failed_floors: list[Quality] = []

    @property
    def enabled(self) -> bool:
        """Whether this run measures joules."""
        return self._recorder is not None

    def __call__(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Measure ``function(*args, **kwargs)`` and return its result. Once per test."""
        self._refuse_second_measurement()
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
        self._refuse_second_measurement()
        calls = partial(baseline, *args, **kwargs), partial(candidate, *args, **kwargs)
        for call in calls:
            call_once(call)
        return self._recorder.versus(*calls) if self._recorder is not None else None

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Measure a phase that cannot be repeated: a ``with`` block, or a decorated function.

        Each name is an entry of its own in the saved run. A phase that runs once has no interval;
        each time it runs again adds a window::

            with energy.measuring("load"):
                data = load()

            @energy.measuring("train")
            def train(): ...
        """
        if not name or not isinstance(name, str):
            raise FixtureMisuse(f"energy.measuring takes the name of a phase, not {name!r}")
        if self._phase:
            raise FixtureMisuse(
                f"the phase {name!r} begins inside the phase {self._phase!r}: its readings would "
                "be part of both; measure one after the other"
            )
        self._phase = name
        try:
            with nullcontext() if self._recorder is None else self._recorder.phase(name):
                yield
        finally:
            self._phase = ""

    def items(self, number: int) -> None:
        """Give the number of items that one call processes, such as the cases of a batch.

        The run then shows joules per item, and with a quality ``accuracy`` per correct item.
        """
        if not isinstance(number, int) or number < 1:
            raise FixtureMisuse(f"energy.items takes a whole number, 1 or more, not {number!r}")
        if self._items is not None:
            raise FixtureMisuse(f"energy.items was called twice: {self._items}, then {number}")
        self._items = number
        if self._recorder is not None:
            self._recorder.items(number)

    def _refuse_second_measurement(self) -> None:
        """In every run, so that a test behaves alike with and without ``--energy``."""
        if self._phase:
            raise FixtureMisuse(
                f"the phase {self._phase!r} contains a measurement; measure after the phase"
            )
        if self._measured:
            raise FixtureMisuse(
                "this test measures twice, and a test has one entry in the saved run; make it two "
                "tests, parametrize it, or name phases with energy.measuring"
            )
        self._measured = True

    def quality(
        self, name: str, value: float, floor: float | None = None, ceiling: float | None = None
    ) -> None:
        """Report a quality that must not be traded for energy, such as an accuracy or an error.

        The test fails if ``value`` is below ``floor`` or above ``ceiling``. A quality with a
        ceiling and no floor is better when smaller, also in a comparison with a saved run.
        """
        for limit, given in (("floor", floor), ("ceiling", ceiling)):
            if given is not None and not math.isfinite(given):
                raise FixtureMisuse(
                    f"the {limit} of {name!r} must be a finite number, not {given!r}"
                )
        if floor is not None and ceiling is not None and floor > ceiling:
            raise FixtureMisuse(
                f"the floor of {name!r}, {floor!r}, is above its ceiling, {ceiling!r}"
            )
        quality = Quality(
            name,
            float(value),
            None if floor is None else float(floor),
            None if ceiling is None else float(ceiling),
        )
        if self._recorder is not None:
            self._recorder.quality(quality)
        if not quality.meets_its_limits:
            self.failed_floors.append(quality)

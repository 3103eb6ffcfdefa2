"""The ``energy`` fixture, and pytest-benchmark's ``benchmark`` with joules."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_benchmark.fixture import BenchmarkFixture

from pytest_energy.errors import FixtureMisuse
from pytest_energy.measuring.single import call_once
from pytest_energy.model import Comparison, Quality
from pytest_energy.plugin.recorder import Recorder

if TYPE_CHECKING:
    from pytest_energy.commits.worker import ServingRecorder

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True

T = TypeVar("T")


class EnergyFixture:
    """Measures a call, or two in turns. Without ``--energy`` it only calls them, and checks the floors."""

    def __init__(self, recorder: Recorder | ServingRecorder | None):
        self._recorder = recorder
        self.failed_floors: list[Quality] = []

    @property
    def enabled(self) -> bool:
        """Whether joules are measured in this run."""
        return self._recorder is not None

    def __call__(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Measure ``function(*args, **kwargs)`` and return what it returns. Once per test."""
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

        Returns the comparison, or None without ``--energy`` (both are called once then).
        """
        calls = partial(baseline, *args, **kwargs), partial(candidate, *args, **kwargs)
        for call in calls:
            call_once(call)
        return self._recorder.versus(*calls) if self._recorder is not None else None

    def quality(self, name: str, value: float, floor: float | None = None) -> None:
        """Say what must not be paid for energy; the test fails where ``value`` is under ``floor``."""
        quality = Quality(name, float(value), None if floor is None else float(floor))
        if quality.floor is not None and not math.isfinite(quality.floor):
            raise FixtureMisuse(f"the floor of {name!r} must be a finite number, not {floor!r}")
        if self._recorder is not None:
            self._recorder.quality(quality)
        if quality.floor is not None and not quality.value >= quality.floor:
            self.failed_floors.append(quality)


class MeasuredBenchmark(BenchmarkFixture):
    """pytest-benchmark's fixture, which after its own rounds has the same call measured in our windows.

    Its own rounds cannot serve: they may be microseconds long, and no counter is that fine. The plugin
    gives the finished fixture this class, so that suites need no change and pytest-benchmark's type check holds.
    """

    energy_recorder: Recorder | ServingRecorder

    @classmethod
    def take_over(cls, fixture: Any, recorder: Recorder | ServingRecorder | None) -> None:
        """Make pytest-benchmark's own finished fixture one of these; somebody else's in its place is left as it is."""
        measured: Any = fixture
        if type(fixture) is BenchmarkFixture:
            measured.__class__ = cls
            measured.energy_recorder = recorder

    def __call__(self, function_to_benchmark: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(function_to_benchmark, *args, **kwargs)
        if self._measures():
            self.energy_recorder.measure(partial(function_to_benchmark, *args, **kwargs))
        return result

    def pedantic(self, *given: Any, **named: Any) -> Any:
        result = super().pedantic(*given, **named)
        if not self._measures():
            return result
        # pytest-benchmark 5.1 has no teardown, and what stands where is its own to say.
        asked = signature(super().pedantic).bind(*given, **named).arguments
        target, args, kwargs = asked["target"], asked.get("args", ()), asked.get("kwargs") or {}
        setup, teardown = asked.get("setup"), asked.get("teardown")
        if setup is None and teardown is None:
            self.energy_recorder.measure(partial(target, *args, **kwargs))
        else:
            self.energy_recorder.measure_prepared(_rounds(target, args, kwargs, setup, teardown))
        return result

    def _measures(self) -> bool:
        return self.enabled or self.energy_recorder.measures_while_disabled()


def _rounds(
    target: Callable[..., object],
    args: Iterable[Any],
    kwargs: Mapping[str, Any],
    setup: Callable[[], tuple[Iterable[Any], Mapping[str, Any]] | None] | None,
    teardown: Callable[..., object] | None,
) -> Generator[Callable[[], object], None, None]:
    """A fresh call for each window, with setup before and teardown after it, as pedantic() means them."""
    while True:
        made = setup() if setup is not None else None
        call_args, call_kwargs = made or (args, kwargs)
        yield partial(target, *call_args, **call_kwargs)
        if teardown is not None:
            teardown(*call_args, **call_kwargs)

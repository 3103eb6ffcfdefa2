"""Code that no loop can repeat: a window each time it runs, as a ``with`` block or a decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

from pytest_energy.errors import EnergyError, FixtureMisuse, MeterFailed
from pytest_energy.measuring.single import (
    COARSE,
    FEWEST_WINDOWS,
    dead_domains_warning,
    name_of,
    refuse_unfinished,
)
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.model import Measurement, Window, window_between
from pytest_energy.plan import Plan

P = ParamSpec("P")
T = TypeVar("T")

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True


class NothingMeasured(EnergyError):
    """A block has not run yet, or it raised an error."""


class Once:
    """A window around a block, or around each call of a decorated function.

    Made by `once`. The garbage collector and a debugger stay as they are: the code runs as always.
    """

    def __init__(self, name: str = "", meter: Meter | None = None, plan: Plan = Plan()):
        self.name = name
        self._meter, self._plan = meter, plan
        self._used: Meter | None = None
        self._block: AbstractContextManager[None] | None = None
        self._windows: list[Window] = []

    def __enter__(self) -> Once:
        if self._block is not None:
            raise FixtureMisuse(
                f"{self.name or 'this block'} is being measured already; it cannot contain itself"
            )
        block = self._window()
        block.__enter__()
        self._block = block
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        block, self._block = self._block, None
        return None if block is None else block.__exit__(kind, error, traceback)

    @contextmanager
    def _window(self) -> Iterator[None]:
        meter = self._used = self._meter or open_meter()
        synchronize = self._plan.synchronize or (lambda: None)
        try:
            synchronize()
            before = meter.read()
            yield
            synchronize()
            window = window_between(before, meter.read(), 1)
        finally:
            if self._meter is None:
                meter.close()
        if window.seconds <= 0:
            raise MeterFailed(
                f"the clock of {meter.name} moved by {window.seconds:g} s in the block"
            )
        self._windows.append(window)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """As a decorator: each call of ``function`` is a window."""
        self.name = self.name or name_of(function)

        @wraps(function)
        def measured(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                result = function(*args, **kwargs)
            refuse_unfinished(function, result)
            return result

        return measured

    @property
    def has_windows(self) -> bool:
        """Whether a block has run to its end."""
        return bool(self._windows)

    @property
    def measurement(self) -> Measurement:
        """The windows so far. Raises `NothingMeasured` before the first block has ended."""
        if self._used is None or not self.has_windows:
            raise NothingMeasured(f"{self.name or 'the block'} has not run to its end yet")
        windows = tuple(self._windows)
        warnings = tuple(_find_warnings(self._used, windows, self._plan))
        return Measurement(self.name, info(self._used), windows, (), warnings)

    def __str__(self) -> str:
        return str(self.measurement) if self._windows else f"{self.name}: not measured yet"

    def _repr_html_(self) -> str | None:
        return self.measurement._repr_html_() if self._windows else None


def once(name: str = "", *, meter: Meter | None = None, plan: Plan = Plan()) -> Once:
    """Measure code that cannot be repeated: a ``with`` block, or each call of a function.

    One window has no interval, and a warning says so. Six or more have one. Without ``meter`` it
    opens `auto` for each window, and closes it::

        with once("load") as load:
            data = read_everything()
        print(load)

        @once("train")
        def train(): ...
    """
    return Once(name, meter, plan)


def _find_warnings(meter: Meter, windows: tuple[Window, ...], plan: Plan) -> Iterator[str]:
    """What a reader has to know: a dead or coarse counter, and that there is no interval."""
    about = info(meter)
    dead = dead_domains_warning(meter, windows)
    if dead:
        yield dead
    if any(about.total_joules(window.joules) <= 0 for window in windows):
        yield f"the counter of {meter.name} did not move in this block: no joules"
    else:
        worst = max(windows, key=about.quantisation)
        if about.quantisation(worst) > plan.max_quantisation * COARSE:
            yield (
                f"the counter of {meter.name} is too coarse for this block: its own error is "
                f"{about.quantisation(worst):.1%} of {worst.seconds:.3g} s"
            )
    if len(windows) < FEWEST_WINDOWS:
        times = "once" if len(windows) == 1 else f"{len(windows)} times"
        yield f"measured {times}, so there is no interval; {FEWEST_WINDOWS} times give one"

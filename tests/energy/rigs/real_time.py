"""Claims about real time that hold on a busy machine: bounds per window, and a second try."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_energy.errors import MeterFailed
from pytest_energy.meters import Meter
from pytest_energy.model import Window, window_between

ROUNDING = 1e-9  # of sums of floats

TRIES = 20
"""A check that an interruption spoils one time in two fails 20 times in a row once in a million."""


@dataclass(frozen=True)
class BoundedWindow:
    """A window, and the least and the most seconds that its joules can be of.

    Another process may take the CPU within a reading, between its instant and its counter. The
    joules are then of other seconds than the window's.
    """

    window: Window
    least_s: float
    most_s: float

    def assert_joules(self, joules: float, watts: float, late_s: float = 0.0) -> None:
        """Fail unless ``joules`` are those of constant ``watts``.

        ``late_s`` is the counter's update interval: each reading may be that old.
        """
        least = watts * (self.least_s - late_s) * (1 - ROUNDING)
        most = watts * (self.most_s + late_s) * (1 + ROUNDING)
        assert least <= joules <= most, f"{joules} J is outside [{least}, {most}] J"


def bounded_window(meter: Meter, seconds: float) -> BoundedWindow:
    """Read ``meter``, sleep, and read it again."""
    from_s = time.perf_counter()
    before = meter.read()
    until_s = time.perf_counter()
    time.sleep(seconds)
    resumed_s = time.perf_counter()
    after = meter.read()
    end_s = time.perf_counter()
    return BoundedWindow(window_between(before, after, 1), resumed_s - until_s, end_s - from_s)


def undisturbed(check: Callable[[], object]) -> None:
    """Run ``check`` until it passes, `TRIES` times at most. The last failure counts.

    For claims that an interruption can spoil and that wrong code never meets.
    """
    for _ in range(TRIES - 1):
        try:
            check()
        except (AssertionError, MeterFailed):  # a meter voids a window that was held up
            continue
        return
    check()

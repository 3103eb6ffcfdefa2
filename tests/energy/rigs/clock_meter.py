"""A meter for tests: known watts x the monotonic clock, in steps, refreshed like a real counter.

It is also an example of a third-party meter: a module and an entry point outside pytest_energy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from pytest_energy.errors import OptionError
from pytest_energy.meters import Meter, MeterSettings
from pytest_energy.model import Domain, Reading

ENTRY_POINT = "[pytest_energy.meters]\nclock = clock_meter:open_clock\n"


class VirtualClock:
    """A clock that moves only by `work`, so tests of timing code are exact on a busy machine."""

    # Each read of the clock or the counter takes this long. Without it, a waiting loop never ends.
    LOOK_S = 1e-5

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += self.LOOK_S
        return self.now_s

    def work(self, seconds: float = 0.001) -> None:
        self.now_s += seconds


class ClockMeter(Meter):
    """``watts`` for each second of the clock, in steps, refreshed every ``update_interval_s``."""

    name = "clock"
    counts_other_processes = False  # its joules follow the clock alone

    def __init__(
        self,
        watts: float = 20.0,
        update_interval_s: float = 1e-4,
        resolution_joules: float = 1e-6,
        provenance: str = "measured",
        frozen_after_s: float = math.inf,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.provenance = provenance
        self.domains = (Domain("package-0"), Domain("core-0", "package-0"))
        self.update_interval_s = update_interval_s
        self.resolution_joules = resolution_joules
        self.watts = watts
        self.closed = False
        self.reads = 0
        self._clock = clock
        self._stops_at_s = clock() + frozen_after_s

    def read(self) -> Reading:
        self.reads += 1
        now_s = self._clock()
        seen_s = (
            math.floor(min(now_s, self._stops_at_s) / self.update_interval_s)
            * self.update_interval_s
        )
        joules = math.floor(seen_s * self.watts / self.resolution_joules) * self.resolution_joules
        return Reading(now_s, {"package-0": joules, "core-0": joules / 2})

    def close(self) -> None:
        self.closed = True


def open_clock(settings: MeterSettings, argument: str | None) -> Meter:
    """``clock`` or ``clock:KEY=VALUE;KEY=VALUE`` with the keywords of `ClockMeter`."""
    keywords: dict = {}
    for pair in (argument or "").split(";"):
        if pair:
            key, _, value = pair.partition("=")
            if key not in (
                "watts",
                "update_interval_s",
                "resolution_joules",
                "provenance",
                "frozen_after_s",
            ):
                raise OptionError(f"the clock meter has no argument {key!r}")
            keywords[key] = value if key == "provenance" else float(value)
    return ClockMeter(**keywords)

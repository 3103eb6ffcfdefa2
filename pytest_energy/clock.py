"""The clocks that all rooms read. Code under test cannot replace them.

freezegun replaces ``time.perf_counter`` and every module attribute that is the same object, and a
test may patch ``time``. Each clock here is a partial of the real function: another object, which
holds the real one where no scan looks. The plugin imports this module before any test runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType


def _monotonic() -> Callable[[], float]:
    """``perf_counter``, or the system's own clock if something has replaced it already."""
    if not isinstance(time.perf_counter, BuiltinFunctionType) and hasattr(time, "clock_gettime"):
        return partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    return partial(time.perf_counter)


now_s = _monotonic()
"""Seconds of the monotonic clock; on Linux CLOCK_MONOTONIC, as in readings of all meters."""
sleep = partial(time.sleep)
process_cpu_ns = partial(time.process_time_ns)
thread_cpu_ns = partial(time.thread_time_ns)
cpu_times = partial(os.times)
"""CPU seconds of this process and of its children that have ended."""

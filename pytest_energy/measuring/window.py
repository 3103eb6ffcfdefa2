"""Step 2 of a measurement: one window, between two readings, around calls or around nothing.

In a window only the loop over the calls runs. Garbage collection and tracing (debuggers, coverage)
are off in it, as in pytest-benchmark; the collector may run between windows.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import repeat

from pytest_energy.clock import now_s, sleep
from pytest_energy.errors import MeterFailed
from pytest_energy.meters import Meter, info
from pytest_energy.meters.machine_cpu import counts_others, cpu_seconds
from pytest_energy.meters.nvml_clocks import ClockState
from pytest_energy.meters.plausible import LONGEST_UPDATE_S, MAX_DEVICE_WATTS
from pytest_energy.model import (
    LOOKS_PER_UPDATE,
    CpuSeconds,
    GpuClocks,
    Reading,
    Window,
    window_between,
)
from pytest_energy.plan import Call, Plan

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True

# A counter that stands still for this many of its update intervals has failed ...
DEAD_AFTER_UPDATES = 50
# ... but not before this time: a driver may be late under load.
DEAD_AFTER_S = 2.0
# Bounds such a wait if the meter's own clock stands still. A powercap reading takes 2 us, so this
# takes 20 s.
MOST_READINGS = 10_000_000
# Windows do not wait for a counter that misses this many updates while others move.
STILL_AFTER_UPDATES = 3
# The cost of readings and loop is subtracted from a window if it exceeds this share. Smaller
# amounts are lost in the counter's own 1 %. A powercap reading takes 2 us: 0.25 % of 2 ms.
OWN_SHARE = 0.001
LOOPS_TIMED = 10_000
# A meter may fail once, as after a suspend. One that fails this often in a row is broken.
MOST_VOID = 3
# A test may replace these in their modules, as in clock.py.
_is_collecting, _disable_gc, _enable_gc = (
    partial(gc.isenabled),
    partial(gc.disable),
    partial(gc.enable),
)
_gettrace, _settrace = partial(sys.gettrace), partial(sys.settrace)
IDLE_WINDOWS = 5
IDLE_WINDOW_S = 0.05
IDLE_UPDATES = 10


@contextmanager
def untraced() -> Iterator[None]:
    """Switch line tracing off: it makes Python code several times slower. Profilers stay on."""
    tracer = _gettrace()
    if tracer is None:
        yield
        return
    _settrace(None)
    try:
        yield
    finally:
        _settrace(tracer)
        _call_for_the_tracer()


def _call_for_the_tracer() -> None:
    """Let coverage's C tracer resume in the frame where it stopped.

    It resumes at the first call that it sees. If that call comes in an outer frame, it has missed
    the returns in between and books the test's remaining lines to the wrong file.
    """


def take_window(meter: Meter, call: Call, calls: int, plan: Plan) -> Window:
    """A window around ``calls`` calls, or a few more if it has to end on the counter's tick.

    If the meter fails, the window is void and is taken again, at most `MOST_VOID` times in all.
    """

    def take() -> Window:
        with _undisturbed():
            if is_slow(meter):
                return aligned_window(meter, call, calls, plan.synchronize)
            return plain_window(meter, call, calls, plan.synchronize)

    return _until_sound(with_conditions(meter, take), meter, plan)


def take_prepared(meter: Meter, calls: Iterator[Call], plan: Plan) -> Window:
    """A window around the next of ``calls``. If the meter fails, the call after it is measured."""

    def take() -> Window:
        call = next(calls, None)
        if call is None:
            raise MeterFailed(
                f"{meter.name} failed in the last of the prepared calls, and no call is left "
                "to measure instead"
            )
        with _undisturbed():
            return plain_window(meter, call, 1, plan.synchronize)

    return _until_sound(with_conditions(meter, take), meter, plan)


def with_conditions(meter: Meter, take: Callable[[], Window]) -> Callable[[], Window]:
    """``take``, which also finds what was beside its window: CPU seconds, and the GPUs' clocks.

    They are read before the window's first reading and after its last, never between.
    """
    others, clock_state = counts_others(meter), getattr(meter, "clock_state", None)
    if not others and clock_state is None:
        return take

    def take_with_conditions() -> Window:
        state = clock_state() if clock_state is not None else None
        cpu = cpu_seconds() if others else None
        window = take()
        cpu_after = cpu_seconds() if others else None
        if cpu is not None and cpu_after is not None:
            own_s = cpu_after.own - cpu.own
            others_s = cpu_after.machine - cpu.machine - own_s
            window = window._replace(cpu=CpuSeconds(own_s, others_s))
        if clock_state is not None:
            window = window._replace(gpu=_clocks_between(state, clock_state()))
        return window

    return take_with_conditions


def _clocks_between(before: ClockState | None, after: ClockState | None) -> GpuClocks | None:
    if before is None or after is None:
        return None
    limited = after.limited_ns > before.limited_ns or before.limited_now or after.limited_now
    return GpuClocks(limited, after.mhz)


def _until_sound(take: Callable[[], Window], meter: Meter, plan: Plan) -> Window:
    for _ in range(MOST_VOID - 1):
        try:
            return _possible(meter, take())
        except MeterFailed as failure:
            plan.on_void_window(str(failure))
    return _possible(meter, take())


def _possible(meter: Meter, window: Window) -> Window:
    """The window, if a device can have counted it, whichever meter it is from.

    Raises `MeterFailed` for joules that are negative, NaN, or more than any device draws.
    """
    most_j = MAX_DEVICE_WATTS * (window.seconds + max(LONGEST_UPDATE_S, meter.update_interval_s))
    for name, joules in window.joules.items():
        if not 0 <= joules <= most_j:  # nor is NaN within
            raise MeterFailed(
                f"{meter.name}: {name} counted {joules:g} J in {window.seconds:.3g} s; a counter "
                f"goes up, by at most {MAX_DEVICE_WATTS:g} W, so this window is void"
            )
    return window


def plain_window(meter: Meter, call: Call, calls: int, synchronize: Call | None) -> Window:
    """A window that starts and ends at once."""
    clock = now_s
    if synchronize is not None:
        synchronize()
    opening_s = clock()
    before = meter.read()
    started_s = clock()
    for _ in repeat(None, calls):
        call()
    if synchronize is not None:
        synchronize()
    ended_s = clock()
    after = meter.read()
    # A reading names its instant; what it does before or after that is outside the window.
    reading_s = min(
        (after.at_s - before.at_s) - (ended_s - started_s),
        (started_s - opening_s) + (clock() - ended_s),
    )
    return _less_own_cost(window_between(before, after, calls), reading_s)


def _less_own_cost(window: Window, reading_s: float) -> Window:
    """The window less the cost of readings and loop, at its mean power, if that matters."""
    own_s = max(0.0, reading_s) + window.calls * _seconds_per_loop()
    if window.seconds <= 0:
        raise MeterFailed(
            f"the meter's clock moved by {window.seconds:g} s in {window.calls} calls; it needs "
            "a clock that code under test cannot replace, such as pytest_energy.clock"
        )
    if not OWN_SHARE * window.seconds < own_s < window.seconds:
        return window
    kept = 1 - own_s / window.seconds
    return window._replace(
        seconds=window.seconds * kept,
        joules={name: joules * kept for name, joules in window.joules.items()},
    )


@cache
def _seconds_per_loop() -> float:
    """Seconds of the loop itself per call, about 10 ns. Measured once per process."""

    def loops_s() -> float:
        began = now_s()
        for _ in repeat(None, LOOPS_TIMED):
            pass
        return now_s() - began

    return min(loops_s() for _ in range(5)) / LOOPS_TIMED


@contextmanager
def _undisturbed() -> Iterator[None]:
    collecting = _is_collecting()
    _disable_gc()
    try:
        with untraced():
            yield
    finally:
        if collecting:
            _enable_gc()


def aligned_window(meter: Meter, call: Call, calls: int, synchronize: Call | None) -> Window:
    """A window from one tick of a slow counter to another: its error is a call, not an update.

    A counter that is refreshed every 100 ms lags by up to 100 ms, except just after it moved. The
    window starts there, and its calls continue until the counter moves again.
    """
    if synchronize is not None:
        synchronize()
    before, moving = wait_for_tick(meter)
    for _ in repeat(None, calls):
        call()
    if synchronize is not None:
        synchronize()
    # Reading after every call would make short calls mostly readings.
    elapsed_s = max(now_s() - before.at_s, 1e-9)
    stride = max(1, int(meter.update_interval_s / LOOKS_PER_UPDATE / (elapsed_s / calls)))
    looked_s = now_s()
    last = after = meter.read()
    reading_s = now_s() - looked_s
    limit_s = now_s() + _dead_after_s(meter)
    for _ in range(MOST_READINGS):
        if not moving - _moved(last, after):
            break
        for _ in repeat(None, stride):
            call()
        if synchronize is not None:
            synchronize()
        calls += stride
        looked_s = now_s()
        after = meter.read()
        reading_s += now_s() - looked_s
        if after.at_s > limit_s and moving - _moved(last, after):
            raise _dead(meter, last, after)
    else:
        raise _dead(meter, last, after)
    return _less_own_cost(window_between(before, after, calls), reading_s)


def wait_for_tick(meter: Meter) -> tuple[Reading, frozenset[str]]:
    """The reading in which the last counter moved, and the names of the counters that move.

    Fast counters move at once, so this is the tick of the slowest. A counter that stands still
    while others move several times, as that of a sleeping GPU, is not waited for.
    """
    wanted = frozenset(domain.name for domain in meter.domains)
    first = reading = meter.read()
    some_moved_at_s = None
    for _ in range(MOST_READINGS):
        if not wanted - _moved(first, reading):
            return reading, wanted
        reading = meter.read()
        moved = _moved(first, reading)
        if moved and some_moved_at_s is None:
            some_moved_at_s = reading.at_s
        if (
            some_moved_at_s is not None
            and reading.at_s > some_moved_at_s + STILL_AFTER_UPDATES * meter.update_interval_s
        ):
            wanted, first, some_moved_at_s = moved, reading, None
        elif not moved and reading.at_s > first.at_s + _dead_after_s(meter):
            break
    raise _dead(meter, first, reading)


def idle_windows(meter: Meter, plan: Plan = Plan()) -> tuple[Window, ...]:
    """Windows in which this process sleeps: the machine's idle power. ``calls`` is 0."""
    length_s = max(IDLE_WINDOW_S, 0.0 if is_slow(meter) else meter.update_interval_s * IDLE_UPDATES)

    def take() -> Window:
        before = wait_for_tick(meter)[0] if is_slow(meter) else meter.read()
        sleep(length_s)
        after = wait_for_tick(meter)[0] if is_slow(meter) else meter.read()
        return window_between(before, after, 0)

    return tuple(_until_sound(take, meter, plan) for _ in range(IDLE_WINDOWS))


def is_slow(meter: Meter) -> bool:
    """Whether windows start and end on the counter's ticks."""
    return info(meter).windows_end_on_ticks


def _moved(before: Reading, after: Reading) -> frozenset[str]:
    return frozenset(name for name, joules in before.joules.items() if after.joules[name] != joules)


def _dead_after_s(meter: Meter) -> float:
    return max(DEAD_AFTER_S, DEAD_AFTER_UPDATES * meter.update_interval_s)


def _dead(meter: Meter, before: Reading, after: Reading) -> MeterFailed:
    still = sorted(set(before.joules) - _moved(before, after))
    return MeterFailed(
        f"{meter.name}: {still} did not move for {after.at_s - before.at_s:.1f} s: the counter is "
        "frozen; choose another meter with --energy-meter"
    )

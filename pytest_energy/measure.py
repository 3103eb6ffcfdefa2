"""How the windows around one piece of code come to be: warm-up, calibration, windows, idle.

Inside a window nothing of ours runs but the loop over the calls. Garbage collection and tracing (a debugger's, coverage's) are
off in it, as pytest-benchmark has it, and the collector runs between windows as it likes.
"""

from __future__ import annotations

import gc
import inspect
import math
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, repeat
from time import perf_counter, sleep
from typing import Literal, TypeVar

from pytest_energy.errors import FixtureMisuse, MeterFailed, OptionError
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.reading import LOOKS_PER_UPDATE, Measurement, Reading, Window, window_between

Call = Callable[[], object]
T = TypeVar("T")

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True

# A scheduler gives other processes turns of some milliseconds; a window of ten holds a few of them.
SHORTEST_WINDOW_S = 0.01
# A counter that has not moved for this many of its update intervals is taken for dead.
DEAD_AFTER_UPDATES = 50
# ... but no sooner than this: under load a driver may be late.
DEAD_AFTER_S = 2.0
# A counter that has missed this many updates while others moved stands still, and is not waited for.
STILL_AFTER_UPDATES = 3
# Warm-up ends when this many batches in a row agree within SETTLED, or its share of the time is used up.
SETTLED_BATCHES, SETTLED = 3, 0.05
WARM_UP_SHARE = 0.2
# 95 % intervals by order statistics need 6 windows; more than 50 narrow them by little.
FEWEST_WINDOWS, MOST_WINDOWS = 6, 50
# The part of the time for a comparison that a window may last on a meter without ticks: 6 windows fit into a measurement.
LONGEST_UNTICKED = 8
# So many windows are taken even where they cost this many times the time allowed.
OVERTIME = 4
# Being called costs a Python function some 30 ns here; below 30 times that it is worth a word.
SHORTEST_CALL_S = 1e-6
# What our readings and our loop take within a window is taken off it where it is more than this share of it: less is
# lost in the counter's own 1 %. A reading of powercap takes 2 us here and one of the estimate 5, more with each child: of
# a window of 10 ms 0.05 % at most, of one of 2 ms 0.25 %. A turn of the loop takes 5 ns, so 0.5 % of calls of 1 us.
OWN_SHARE = 0.001
LOOPS_TIMED = 10_000
# A plain measurement decides less than a comparison and is given this much of its time.
MEASURE_SHARE = 0.2
# A trial window in which the counter did not move at all says only that it was too short: the next is so many times as long,
# but a window never takes more than this share of a comparison's time.
NO_STEP_GROWTH, LONGEST_WINDOW_SHARE = 100, 0.5
# Windows come out a little shorter than calibrated; only beyond this many times the error aimed for is it worth a warning.
COARSE = 1.5
# A meter may fail once, as after a suspend. One that fails so many times in a row on one window is broken.
MOST_VOID = 3
IDLE_WINDOWS = 5
IDLE_WINDOW_S = 0.05
IDLE_UPDATES = 10


@dataclass(frozen=True)
class Step:
    """Where a measurement stands. Told between windows, never within one."""

    phase: Literal["warm-up", "calibration", "windows", "starts", "blocks"]
    """``starts``: of both processes of ``--energy-against``, with their warm-up."""
    done: int = 0
    """Windows or blocks so far."""
    spent_s: float = 0.0
    """On all windows or blocks so far."""
    allowed_s: float = 0.0


def tell_nobody(step: Step | str) -> None:
    """For a measurement that nobody watches."""


@dataclass(frozen=True)
class Plan:
    """How much to measure, and how finely."""

    max_time_s: float = 5.0
    """Time for a comparison; a plain measurement, which decides less, takes `MEASURE_SHARE` of it."""
    max_quantisation: float = 0.01
    """The counter's own error, as a part of a window's energy, that windows are made long enough for."""
    alpha: float = 0.01
    """1 - confidence of the intervals of a comparison."""
    tolerance: float = 0.03
    """What counts as unchanged: a ratio within 1/(1 + tolerance) and 1 + tolerance."""
    synchronize: Call | None = None
    """Called before each reading: waits for work that was only queued, as on a GPU."""
    tell: Callable[[Step], None] = tell_nobody
    """Called where a phase begins, and between windows."""
    void: Callable[[str], None] = tell_nobody
    """Called with the reason where the meter failed and the window is taken again."""

    def __post_init__(self) -> None:
        if not (self.max_time_s > 0 and math.isfinite(self.max_time_s)):
            raise OptionError(f"the time for a comparison must be more than 0 seconds, not {self.max_time_s!r}")
        if not 0 < self.max_quantisation <= 1:
            raise OptionError(f"the quantisation must lie in (0, 1], not {self.max_quantisation!r}")
        if not 0 < self.alpha < 0.5:
            raise OptionError(f"alpha must lie in (0, 0.5), not {self.alpha!r}")
        if not 0 < self.tolerance < 1:
            raise OptionError(f"the tolerance must lie in (0, 1), not {self.tolerance!r}")


def measure(
    function: Callable[..., object], *args: object, meter: Meter | None = None, plan: Plan = Plan(), name: str = ""
) -> Measurement:
    """Measure ``function(*args)`` in windows, as long as ``plan`` allows.

    Without ``meter``, opens `auto` and closes it again. Raises what ``function`` raises, and `MeterFailed`::

        measurement = measure(model, x)
        figures(measurement).joules.value
    """
    if meter is None:
        with open_meter() as opened:
            return measure(function, *args, meter=opened, plan=plan, name=name)
    call = partial(function, *args) if args else function
    budget_s = plan.max_time_s * MEASURE_SHARE
    plan, void = noting_void(plan)
    plan.tell(Step("warm-up"))
    seconds_per_call = warm_up(call, budget_s * WARM_UP_SHARE)
    plan.tell(Step("calibration"))
    calls = calibrate(meter, call, seconds_per_call, plan)
    windows = take_windows(meter, call, calls, budget_s, plan)
    return Measurement(name or name_of(function), info(meter), windows, (), tuple(find_warnings(meter, windows, plan, void)))


def measure_prepared(calls: Generator[Call, None, None], meter: Meter, plan: Plan, name: str) -> Measurement:
    """Measure calls that each need preparing: one call per window, and whatever ``calls`` does is between windows.

    Windows cannot be made longer here, so a coarse counter ends in a warning.
    """
    windows: list[Window] = []
    plan, void = noting_void(plan)
    plan.tell(Step("warm-up"))
    call_once(next(calls))
    budget_s = plan.max_time_s * MEASURE_SHARE
    plan.tell(Step("windows", allowed_s=budget_s))
    began = perf_counter()
    for call in calls:
        windows.append(take_prepared(meter, chain([call], calls), plan))
        spent_s = perf_counter() - began
        plan.tell(Step("windows", len(windows), spent_s, budget_s))
        if len(windows) >= MOST_WINDOWS or _enough(len(windows), spent_s, budget_s):
            break
    calls.close()
    return Measurement(name, info(meter), tuple(windows), (), tuple(find_warnings(meter, tuple(windows), plan, void)))


def call_once(call: Callable[[], T]) -> T:
    """What it returns; refuses a coroutine function, which by itself only makes a coroutine and does none of its work."""
    result = call()
    if inspect.iscoroutine(result):
        result.close()
        raise FixtureMisuse(
            f"{name_of(call)} is a coroutine function, and calling it does none of its work; "
            "measure lambda: asyncio.run(...) around it"
        )
    return result


@contextmanager
def untraced() -> Iterator[None]:
    """Line tracing (coverage before Python 3.14, debuggers) makes Python code several times slower. A profiler is left on."""
    tracer = sys.gettrace()
    if tracer is None:
        yield
        return
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@untraced()
def warm_up(call: Call, budget_s: float) -> float:
    """Call until the time of a call settles or the budget is used up; gives the seconds per call."""
    clock = perf_counter
    began = clock()
    call_once(call)
    seconds = clock() - began
    batch_s = min(budget_s / (2 * SETTLED_BATCHES), SHORTEST_WINDOW_S / 2)
    recent: list[float] = []
    while clock() - began < budget_s:
        calls = max(1, int(batch_s / max(seconds, 1e-9)))
        start = clock()
        for _ in repeat(None, calls):
            call()
        seconds = (clock() - start) / calls
        recent = [*recent[1 - SETTLED_BATCHES :], seconds]
        if len(recent) == SETTLED_BATCHES and max(recent) <= min(recent) * (1 + SETTLED):
            break
    return min(recent, default=seconds)


def calibrate(meter: Meter, call: Call, seconds_per_call: float, plan: Plan, shortest_window_s: float = SHORTEST_WINDOW_S) -> int:
    """Calls per window such that the counter's own error is at most ``plan.max_quantisation``."""
    about = info(meter)
    if seconds_per_call > plan.max_time_s * LONGEST_WINDOW_SHARE:
        return 1  # already longer than a window should be, and a trial would cost as much again
    shortest_s = about.lag_s(seconds_per_call) / plan.max_quantisation
    if about.windows_end_on_ticks:
        shortest_s = max(shortest_s, meter.update_interval_s)
    elif not about.ticks:
        # Sampled watts would need windows of 2 to 10 s. Rather enough windows, too short, which find_warnings says.
        shortest_s = max(shortest_window_s, min(shortest_s, plan.max_time_s / LONGEST_UNTICKED))
    else:
        shortest_s = max(shortest_window_s, shortest_s)
    calls = max(1, math.ceil(shortest_s / max(seconds_per_call, 1e-9)))
    if about.windows_end_on_ticks:
        return calls
    trial = take_window(meter, call, calls, plan)
    step = _step_share(meter, trial)
    if step > plan.max_quantisation:
        # Grow by the counter's steps; where it did not move at all, by as much as one window may last.
        longest = max(1, int(plan.max_time_s * LONGEST_WINDOW_SHARE / max(trial.seconds / trial.calls, 1e-9)))
        calls = min(longest, calls * NO_STEP_GROWTH if step == math.inf else math.ceil(calls * step / plan.max_quantisation))
    return calls


def take_windows(meter: Meter, call: Call, calls: int, budget_s: float, plan: Plan) -> tuple[Window, ...]:
    """Windows of ``calls`` calls each until the budget is used up, 6 to 50 of them (fewer where they take hours)."""
    windows: list[Window] = []
    plan.tell(Step("windows", allowed_s=budget_s))
    began = perf_counter()
    while True:
        windows.append(take_window(meter, call, calls, plan))
        spent_s = perf_counter() - began
        plan.tell(Step("windows", len(windows), spent_s, budget_s))
        if len(windows) >= MOST_WINDOWS or _enough(len(windows), spent_s, budget_s):
            return tuple(windows)


def _enough(windows: int, spent_s: float, budget_s: float) -> bool:
    return spent_s >= budget_s and (windows >= FEWEST_WINDOWS or spent_s >= OVERTIME * budget_s)


def take_window(meter: Meter, call: Call, calls: int, plan: Plan) -> Window:
    """One window around ``calls`` calls, or some more where it has to end on the counter's tick.

    Where the meter fails the window is void, and is taken again, `MOST_VOID` times in all.
    """

    def take() -> Window:
        with _undisturbed():
            if is_slow(meter):
                return aligned_window(meter, call, calls, plan.synchronize)
            return plain_window(meter, call, calls, plan.synchronize)

    return _until_sound(take, plan)


def take_prepared(meter: Meter, calls: Iterator[Call], plan: Plan) -> Window:
    """One window around the next of ``calls``. Where the meter fails it is void, and the one after it is measured instead."""

    def take() -> Window:
        call = next(calls, None)
        if call is None:
            raise MeterFailed(f"{meter.name} failed in the last of the prepared calls, and there is none to measure instead")
        with _undisturbed():
            return plain_window(meter, call, 1, plan.synchronize)

    return _until_sound(take, plan)


def _until_sound(take: Callable[[], Window], plan: Plan) -> Window:
    for _ in range(MOST_VOID - 1):
        try:
            return take()
        except MeterFailed as failure:
            plan.void(str(failure))
    return take()


def noting_void(plan: Plan) -> tuple[Plan, list[str]]:
    """The plan, and the list to which it will add why windows were void."""
    reasons: list[str] = []

    def note(reason: str) -> None:
        reasons.append(reason)
        plan.void(reason)

    return replace(plan, void=note), reasons


def plain_window(meter: Meter, call: Call, calls: int, synchronize: Call | None) -> Window:
    """A window that starts and ends at once."""
    clock = perf_counter
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
    # A reading tells its instant, and what it does before that, or after it, is outside the window.
    reading_s = min((after.at_s - before.at_s) - (ended_s - started_s), (started_s - opening_s) + (clock() - ended_s))
    return _less_own_cost(window_between(before, after, calls), reading_s)


def _less_own_cost(window: Window, reading_s: float) -> Window:
    """The window without what our own readings and loop took of it, at its mean power, where that matters."""
    own_s = max(0.0, reading_s) + window.calls * _seconds_per_loop()
    if not OWN_SHARE * window.seconds < own_s < window.seconds:
        return window
    kept = 1 - own_s / window.seconds
    return Window(window.seconds * kept, {name: joules * kept for name, joules in window.joules.items()}, window.calls)


@cache
def _seconds_per_loop() -> float:
    """What one turn of the loop around the calls takes, less the call: some 10 ns. Measured once a process."""

    def loops_s() -> float:
        began = perf_counter()
        for _ in repeat(None, LOOPS_TIMED):
            pass
        return perf_counter() - began

    return min(loops_s() for _ in range(5)) / LOOPS_TIMED


@contextmanager
def _undisturbed() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        with untraced():
            yield
    finally:
        if collecting:
            gc.enable()


def aligned_window(meter: Meter, call: Call, calls: int, synchronize: Call | None) -> Window:
    """A window from one tick of a slow counter to another, so that it is wrong by a call, not by an update.

    A counter that is refreshed every 100 ms lags by up to 100 ms. Right after it has moved it does
    not lag: there the window starts. At its end, calls go on until the counter moves once more.
    """
    if synchronize is not None:
        synchronize()
    before, moving = wait_for_tick(meter)
    for _ in repeat(None, calls):
        call()
    if synchronize is not None:
        synchronize()
    # Reading after every call would make short calls mostly readings.
    elapsed_s = max(perf_counter() - before.at_s, 1e-9)
    stride = max(1, int(meter.update_interval_s / LOOKS_PER_UPDATE / (elapsed_s / calls)))
    looked_s = perf_counter()
    last = after = meter.read()
    reading_s = perf_counter() - looked_s
    limit_s = perf_counter() + _dead_after_s(meter)
    while moving - _moved(last, after):
        for _ in repeat(None, stride):
            call()
        if synchronize is not None:
            synchronize()
        calls += stride
        looked_s = perf_counter()
        after = meter.read()
        reading_s += perf_counter() - looked_s
        if after.at_s > limit_s and moving - _moved(last, after):
            raise _dead(meter, last, after)
    return _less_own_cost(window_between(before, after, calls), reading_s)


def wait_for_tick(meter: Meter) -> tuple[Reading, frozenset[str]]:
    """The reading in which the last of the counters moved, and which counters do move.

    Fast counters move at once, so it is the slow one's tick. A counter that stands still while others move
    several times (a GPU asleep beside a busy one) is not waited for.
    """
    wanted = frozenset(domain.name for domain in meter.domains)
    first = reading = meter.read()
    some_moved_at_s = None
    while wanted - _moved(first, reading):
        reading = meter.read()
        moved = _moved(first, reading)
        if moved and some_moved_at_s is None:
            some_moved_at_s = reading.at_s
        if some_moved_at_s is not None and reading.at_s > some_moved_at_s + STILL_AFTER_UPDATES * meter.update_interval_s:
            wanted, first, some_moved_at_s = moved, reading, None
        elif not moved and reading.at_s > first.at_s + _dead_after_s(meter):
            raise _dead(meter, first, reading)
    return reading, wanted


def idle_windows(meter: Meter, plan: Plan = Plan()) -> tuple[Window, ...]:
    """Windows with nothing running in this process: what the machine draws anyway. ``calls`` is 0."""
    length_s = max(IDLE_WINDOW_S, 0.0 if is_slow(meter) else meter.update_interval_s * IDLE_UPDATES)

    def take() -> Window:
        before = wait_for_tick(meter)[0] if is_slow(meter) else meter.read()
        sleep(length_s)
        after = wait_for_tick(meter)[0] if is_slow(meter) else meter.read()
        return window_between(before, after, 0)

    return tuple(_until_sound(take, plan) for _ in range(IDLE_WINDOWS))


def is_slow(meter: Meter) -> bool:
    """Whether windows have to start and end on the counter's ticks."""
    return info(meter).windows_end_on_ticks


def quantisation(meter: Meter, window: Window) -> float:
    """The counter's own error as a part of the window's energy: lag at both ends, and its smallest step."""
    return info(meter).quantisation(window)


def find_warnings(meter: Meter, windows: tuple[Window, ...], plan: Plan, void: Sequence[str] = ()) -> list[str]:
    """What a reader of these windows has to be told, each with its likely cause and what helps.

    ``void``: why windows beside these were void.
    """
    warnings = []
    if void:
        these = "a window was" if len(void) == 1 else f"{len(void)} windows were"
        warnings.append(f"{these} void and taken again: {void[-1]}")
    window = windows[len(windows) // 2]
    still = [each for each in windows if _step_share(meter, each) == math.inf]
    error = max(quantisation(meter, each) for each in windows)
    if still:
        warnings.append(
            f"the counter of {meter.name} did not move in {len(still)} of {len(windows)} windows, one of {still[0].seconds:.3g} s: "
            "no joules can be told"
        )
    elif error > plan.max_quantisation * COARSE:
        warnings.append(
            f"the counter of {meter.name} is too coarse for these windows: its own error is {error:.1%} of a window "
            f"of {window.seconds:.3g} s; --energy-max-time above {plan.max_time_s:g} makes longer ones"
        )
    if window.seconds_per_call < SHORTEST_CALL_S:
        warnings.append(
            f"a call takes {window.seconds_per_call * 1e9:.0f} ns, of which being called is a good part; do more in one call"
        )
    if len(windows) < FEWEST_WINDOWS:
        warnings.append(f"only {len(windows)} windows fit into the time, too few for an interval; raise --energy-max-time")
    return warnings


def _step_share(meter: Meter, window: Window) -> float:
    joules = info(meter).total_joules(window.joules)
    return meter.resolution_joules / joules if joules > 0 else math.inf


def _moved(before: Reading, after: Reading) -> frozenset[str]:
    return frozenset(name for name, joules in before.joules.items() if after.joules[name] != joules)


def _dead_after_s(meter: Meter) -> float:
    return max(DEAD_AFTER_S, DEAD_AFTER_UPDATES * meter.update_interval_s)


def _dead(meter: Meter, before: Reading, after: Reading) -> MeterFailed:
    still = sorted(set(before.joules) - _moved(before, after))
    return MeterFailed(f"{meter.name}: {still} did not move for {after.at_s - before.at_s:.1f} s: the counter seems frozen")


def name_of(function: Callable[..., object]) -> str:
    """What to call it in a report."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__name__)

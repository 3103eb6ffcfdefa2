"""How the windows around one piece of code come to be: warm-up, calibration, and as many windows as the time allows."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import chain, repeat
from time import perf_counter
from typing import TypeVar

from pytest_energy.errors import FixtureMisuse
from pytest_energy.measuring.window import take_prepared, take_window, untraced
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.model import Measurement, Window
from pytest_energy.plan import MEASURE_SHARE, Call, Plan, Step, noting_void

T = TypeVar("T")

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True

# A scheduler gives other processes turns of some milliseconds; a window of ten holds a few of them.
SHORTEST_WINDOW_S = 0.01
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
# A trial window in which the counter did not move at all says only that it was too short: the next is so many times as long,
# but a window never takes more than this share of a comparison's time.
NO_STEP_GROWTH, LONGEST_WINDOW_SHARE = 100, 0.5
# Windows come out a little shorter than calibrated; only beyond this many times the error aimed for is it worth a warning.
COARSE = 1.5


def measure(
    function: Callable[..., object],
    *args: object,
    meter: Meter | None = None,
    plan: Plan = Plan(),
    name: str = "",
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
    return Measurement(
        name or name_of(function),
        info(meter),
        windows,
        (),
        tuple(find_warnings(meter, windows, plan, void)),
    )


def measure_prepared(
    calls: Generator[Call, None, None], meter: Meter, plan: Plan, name: str
) -> Measurement:
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
    return Measurement(
        name,
        info(meter),
        tuple(windows),
        (),
        tuple(find_warnings(meter, tuple(windows), plan, void)),
    )


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


def calibrate(
    meter: Meter,
    call: Call,
    seconds_per_call: float,
    plan: Plan,
    shortest_window_s: float = SHORTEST_WINDOW_S,
) -> int:
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
        longest = max(
            1, int(plan.max_time_s * LONGEST_WINDOW_SHARE / max(trial.seconds / trial.calls, 1e-9))
        )
        calls = min(
            longest,
            calls * NO_STEP_GROWTH
            if step == math.inf
            else math.ceil(calls * step / plan.max_quantisation),
        )
    return calls


def take_windows(
    meter: Meter, call: Call, calls: int, budget_s: float, plan: Plan
) -> tuple[Window, ...]:
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


def find_warnings(
    meter: Meter, windows: tuple[Window, ...], plan: Plan, void: Sequence[str] = ()
) -> list[str]:
    """What a reader of these windows has to be told, each with its likely cause and what helps.

    ``void``: why windows beside these were void.
    """
    warnings = []
    if void:
        these = "a window was" if len(void) == 1 else f"{len(void)} windows were"
        warnings.append(f"{these} void and taken again: {void[-1]}")
    window = windows[len(windows) // 2]
    still = [each for each in windows if _step_share(meter, each) == math.inf]
    error = max(info(meter).quantisation(each) for each in windows)
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
        warnings.append(
            f"only {len(windows)} windows fit into the time, too few for an interval; raise --energy-max-time"
        )
    return warnings


def _step_share(meter: Meter, window: Window) -> float:
    joules = info(meter).total_joules(window.joules)
    return meter.resolution_joules / joules if joules > 0 else math.inf


def name_of(function: Callable[..., object]) -> str:
    """What to call it in a report."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__name__)

"""One piece of code: warm-up, calls per window, and as many windows as the time allows.

The order is that of `measure`, from top to bottom. A window itself is in window.py; two pieces of
code are measured by paired.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Sequence
from functools import partial
from inspect import isasyncgen, isawaitable, iscoroutine, isgenerator
from itertools import chain, repeat
from typing import TypeVar

from pytest_energy.clock import now_s
from pytest_energy.errors import FixtureMisuse
from pytest_energy.measuring.gpu_clocks import limits_in_windows
from pytest_energy.measuring.others import beside_windows
from pytest_energy.measuring.threads import ThreadWaits
from pytest_energy.measuring.window import take_prepared, take_window, untraced
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.model import Measurement, Window, add_windows
from pytest_energy.plan import MEASURE_SHARE, Call, Plan, Step, collect_void_reasons

T = TypeVar("T")

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True

# A scheduler's time slice is 3 to 4 ms. Windows well within one are mostly undisturbed; a window of
# 10 ms always holds part of a neighbour's slice (docs/gate.md).
SHORTEST_WINDOW_S = 0.001
# Windows up to this long start with a fresh time slice (sched_yield, under a microsecond on an idle
# machine). Longer ones must not: all of one length would end on the same side of the slice's end,
# and those of a candidate that takes 1 % more on the other side.
TIME_SLICE_S = 0.0025
# A batch of the warm-up: within a time slice, or batches never agree beside busy programs.
BATCH_S = 0.001
# A live domain draws at least 1 % of this many joules, which is more than its counter's step.
CLEARLY_MOVED_J = 0.1
# Warm-up ends when this many batches in a row agree within SETTLED, or its share of the time ends.
SETTLED_BATCHES, SETTLED = 3, 0.05
WARM_UP_SHARE = 0.2
# Bounds beside the clock: a batch has at most this many times the calls of the one before ...
BATCH_GROWTH = 1000
# ... and warm-up has at most this many batches.
MOST_BATCHES = 1000
# 95 % intervals by order statistics need 6 windows; more than 50 narrow them by little.
FEWEST_WINDOWS, MOST_WINDOWS = 6, 50
# On a meter without ticks a window lasts at most 1/8 of a comparison's time: a measurement, which
# has a fifth of that time and may take four times as long, then holds 6 windows.
LONGEST_UNTICKED = 8
# The fewest windows are taken even if they cost this many times the time allowed.
OVERTIME = 4
# A call costs a Python function some 30 ns; calls shorter than 30 times that get a warning.
SHORTEST_CALL_S = 1e-6
# What these and itertools return has its work still to do. A file or a cursor is an iterator too,
# but opening it was the work.
LAZY = (map, filter, zip, enumerate, reversed)
# If the counter did not move in a trial window, the next is this many times as long ...
NO_STEP_GROWTH = 100
# ... but no window takes more than this share of a comparison's time.
LONGEST_WINDOW_SHARE = 0.5
# Windows come out a little shorter than planned: only a larger error than this is a warning.
COARSE = 1.5


def measure(
    function: Callable[..., object],
    *args: object,
    meter: Meter | None = None,
    plan: Plan = Plan(),
    name: str = "",
) -> Measurement:
    """Measure ``function(*args)`` in windows, for as long as ``plan`` allows.

    Without ``meter`` it opens `auto`, and closes it. Raises `MeterFailed`, and what ``function``
    raises::

        measurement = measure(model, x)
        figures(measurement).joules.value
    """
    if meter is None:
        with open_meter() as opened:
            return measure(function, *args, meter=opened, plan=plan, name=name)
    call = partial(function, *args) if args else function
    budget_s = plan.max_time_s * MEASURE_SHARE
    plan, void_reasons = collect_void_reasons(plan)
    plan.on_step(Step("warm-up"))
    seconds_per_call = warm_up(call, budget_s * WARM_UP_SHARE)
    plan.on_step(Step("calibration"))
    calls = calls_per_window(meter, call, seconds_per_call, plan)
    yields_first = calls * seconds_per_call <= TIME_SLICE_S
    waits = ThreadWaits()
    windows = take_windows(meter, call, calls, budget_s, plan, yields_first)
    waiting_share = waits.share()
    return Measurement(
        name or name_of(function),
        info(meter),
        windows,
        (),
        (
            *find_warnings(meter, windows, plan, void_reasons),
            *beside_windows(info(meter), windows),
            *limits_in_windows(windows),
        ),
        waiting_share,
    )


def measure_prepared(
    calls: Generator[Call, None, None], meter: Meter, plan: Plan, name: str
) -> Measurement:
    """Measure calls that each need preparation: one per window, prepared between windows.

    Such windows cannot be made longer, so a coarse counter ends in a warning.
    """
    windows: list[Window] = []
    plan, void_reasons = collect_void_reasons(plan)
    plan.on_step(Step("warm-up"))
    call_once(next(calls))
    budget_s = plan.max_time_s * MEASURE_SHARE
    plan.on_step(Step("windows", allowed_s=budget_s))
    began = now_s()
    for call in calls:
        windows.append(take_prepared(meter, chain([call], calls), plan))
        spent_s = now_s() - began
        plan.on_step(Step("windows", len(windows), spent_s, budget_s))
        if len(windows) >= MOST_WINDOWS or _enough(len(windows), spent_s, budget_s):
            break
    calls.close()
    warnings = (
        *find_warnings(meter, tuple(windows), plan, void_reasons),
        *beside_windows(info(meter), windows),
        *limits_in_windows(windows),
    )
    return Measurement(name, info(meter), tuple(windows), (), warnings)


def call_once(call: Callable[[], T]) -> T:
    """Call once and return the result. Raises `FixtureMisuse` if the work is still to be done."""
    result = call()
    refuse_unfinished(call, result)
    return result


def refuse_unfinished(call: Callable[..., object], result: object) -> None:
    """Raises `FixtureMisuse` if the call returned before its work was done."""
    unfinished = _unfinished(result)
    if unfinished is None:
        return
    kind, remedy = unfinished
    if iscoroutine(result) or isgenerator(result):
        result.close()  # Python warns of a coroutine that is never awaited
    raise FixtureMisuse(
        f"{name_of(call)} returns {kind}, and its work is done later, outside the measured "
        f"call; measure {remedy}"
    )


def _unfinished(result: object) -> tuple[str, str] | None:
    """What a call returned before its work, and how to call it instead; None if it is done."""
    if iscoroutine(result):
        return "a coroutine", "lambda: asyncio.run(...) around it"
    if isasyncgen(result):
        return "an async generator", "lambda: asyncio.run(...) around a loop over it"
    if isgenerator(result):
        return "a generator", "lambda: list(...) around it"
    if isinstance(result, LAZY) or type(result).__module__ == "itertools":
        return f"a lazy {type(result).__name__}", "lambda: list(...) around it"
    if hasattr(type(result), "add_done_callback"):  # concurrent.futures, asyncio, torch, dask
        return f"a {type(result).__name__}", "lambda: ....result(), or a function that waits for it"
    if isawaitable(result):
        return f"an awaitable {type(result).__name__}", "lambda: asyncio.run(...) around it"
    return None


@untraced()
def warm_up(call: Call, budget_s: float) -> float:
    """Call until the time of a call settles or the budget ends. Returns the seconds per call."""
    began = now_s()
    call_once(call)
    seconds = now_s() - began
    batch_s = min(budget_s / (2 * SETTLED_BATCHES), BATCH_S)
    calls = 1
    recent: list[float] = []
    for _ in range(MOST_BATCHES):
        if now_s() - began >= budget_s:
            break
        calls = min(BATCH_GROWTH * calls, max(1, int(batch_s / max(seconds, 1e-9))))
        start = now_s()
        for _ in repeat(None, calls):
            call()
        seconds = (now_s() - start) / calls
        recent = [*recent[1 - SETTLED_BATCHES :], seconds]
        if len(recent) == SETTLED_BATCHES and max(recent) <= min(recent) * (1 + SETTLED):
            break
    return min(recent, default=seconds)


def calls_per_window(
    meter: Meter,
    call: Call,
    seconds_per_call: float,
    plan: Plan,
    shortest_window_s: float = SHORTEST_WINDOW_S,
) -> int:
    """Calls per window that keep the counter's own error within ``plan.max_quantisation``."""
    about = info(meter)
    if seconds_per_call > plan.max_time_s * LONGEST_WINDOW_SHARE:
        return 1  # longer than a window should be, and a trial would cost as much again
    shortest_s = about.lag_s(seconds_per_call) / plan.max_quantisation
    if about.windows_end_on_ticks:
        shortest_s = max(shortest_s, meter.update_interval_s)
    elif not about.ticks:
        # Sampled watts would need windows of 2 to 10 s. Take enough windows, and warn that they
        # are short (find_warnings).
        shortest_s = max(shortest_window_s, min(shortest_s, plan.max_time_s / LONGEST_UNTICKED))
    else:
        shortest_s = max(shortest_window_s, shortest_s)
    calls = max(1, math.ceil(shortest_s / max(seconds_per_call, 1e-9)))
    if about.windows_end_on_ticks:
        return calls
    trial = take_window(meter, call, calls, plan)
    step = _step_share(meter, trial)
    if step > plan.max_quantisation:
        # Grow by the counter's steps; if it did not move, by as much as one window may last.
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


# Windows has no sched_yield; there, windows start anywhere in a time slice.
yield_cpu: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def take_windows(
    meter: Meter, call: Call, calls: int, budget_s: float, plan: Plan, yields_first: bool = False
) -> tuple[Window, ...]:
    """6 to 50 windows of ``calls`` calls each, until the budget ends; fewer if they take hours."""
    windows: list[Window] = []
    plan.on_step(Step("windows", allowed_s=budget_s))
    began = now_s()
    while True:
        if yields_first:
            yield_cpu()
        windows.append(take_window(meter, call, calls, plan))
        spent_s = now_s() - began
        plan.on_step(Step("windows", len(windows), spent_s, budget_s))
        if len(windows) >= MOST_WINDOWS or _enough(len(windows), spent_s, budget_s):
            return tuple(windows)


def _enough(windows: int, spent_s: float, budget_s: float) -> bool:
    return spent_s >= budget_s and (windows >= FEWEST_WINDOWS or spent_s >= OVERTIME * budget_s)


def _dead_domains(meter: Meter, windows: tuple[Window, ...]) -> list[str]:
    """Domains of the total that never moved, although the total clearly did."""
    joules = add_windows(windows).joules
    if info(meter).total_joules(joules) < CLEARLY_MOVED_J:
        return []
    return [d.name for d in meter.domains if d.parent is None and joules[d.name] == 0]


def dead_domains_warning(meter: Meter, windows: tuple[Window, ...]) -> str | None:
    """A line about the domains whose counters are dead, or None."""
    dead = _dead_domains(meter, windows)
    if not dead:
        return None
    return (
        f"{', '.join(dead)} stood still in all {len(windows)} windows while other domains "
        "moved: the counter is dead, and its joules are missing"
    )


def find_warnings(
    meter: Meter, windows: tuple[Window, ...], plan: Plan, void_reasons: Sequence[str] = ()
) -> list[str]:
    """Warnings for a reader of these windows, each with its likely cause and a remedy.

    ``void_reasons``: why the meter failed in windows that were taken again.
    """
    warnings = []
    if void_reasons:
        these = "a window was" if len(void_reasons) == 1 else f"{len(void_reasons)} windows were"
        warnings.append(f"{these} void and taken again: {void_reasons[-1]}")
    if dead := dead_domains_warning(meter, windows):
        warnings.append(dead)
    window = windows[len(windows) // 2]
    still = [each for each in windows if _step_share(meter, each) == math.inf]
    error = max(info(meter).quantisation(each) for each in windows)
    if still:
        warnings.append(
            f"the counter of {meter.name} did not move in {len(still)} of {len(windows)} windows, "
            f"one of them {still[0].seconds:.3g} s long: no joules; raise --energy-max-time"
        )
    elif error > plan.max_quantisation * COARSE:
        warnings.append(
            f"the counter of {meter.name} is too coarse for these windows: its own error is "
            f"{error:.1%} of a window of {window.seconds:.3g} s; an --energy-max-time above "
            f"{plan.max_time_s:g} makes longer windows"
        )
    if window.seconds_per_call < SHORTEST_CALL_S:
        warnings.append(
            f"a call takes {window.seconds_per_call * 1e9:.0f} ns, much of it for the call itself; "
            "do more work in one call"
        )
    if len(windows) < FEWEST_WINDOWS:
        warnings.append(
            f"only {len(windows)} windows fit into the time, too few for an interval; "
            "raise --energy-max-time"
        )
    return warnings


def _step_share(meter: Meter, window: Window) -> float:
    joules = info(meter).total_joules(window.joules)
    return meter.resolution_joules / joules if joules > 0 else math.inf


def name_of(function: Callable[..., object]) -> str:
    """The function's name in a report."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__name__)

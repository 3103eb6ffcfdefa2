"""Two pieces of code, or one against many, measured in turns.

A shared machine drifts by tens of per cent within minutes, so two batches measured one after the
other are not comparable. Here the sides take turns in short windows, four to a block, ABBA or BAAB
by a coin. Drift that is linear over a block cancels. Both sides pay equally for coming second. The
coin makes the sign of the rest fair. Each block gives one log-ratio.

The intervals assume one thing: the machine disturbs the four windows of a block without knowing
the coin. Then a block's log-ratio lies above the truth as often as below it, for noise of any
distribution and any dependence between blocks. docs/gate.md has the proof and the measurements.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import TypeVar

from pytest_energy.clock import now_s
from pytest_energy.errors import OptionError
from pytest_energy.measuring.single import (
    OVERTIME,
    SHORTEST_WINDOW_S,
    TIME_SLICE_S,
    WARM_UP_SHARE,
    calls_per_window,
    name_of,
    warm_up,
    yield_cpu,
)
from pytest_energy.measuring.threads import ThreadWaits
from pytest_energy.measuring.window import take_window, untraced
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.model import ORDERS, Block, Comparison, MeterInfo, Window
from pytest_energy.plan import Call, Plan, Step
from pytest_energy.stats.gps_up import COUNTER_SHARE, GpsUp, fewest_blocks, gps_up
from pytest_energy.stats.net import net_gps_up
from pytest_energy.stats.others import hit_unequally

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True

# More blocks narrow the interval by less than the machine's bias between two equal functions. So
# many of the shortest ones take 2 s.
MOST_BLOCKS = 2000
# The intervals hold at every look. From some hundred blocks on, computing them takes as long as a
# short block, so looks become rarer: a verdict comes at most 10 % later than it could.
LOOK_GROWTH = 1.1
# Sides whose calls take about as long get equally many calls per window, or the longer window is
# interrupted more often. Beyond a factor of 2 no verdict depends on it.
SIMILAR_FACTOR = 2.0
# A side has two windows in a block, so each may err by twice as much as the block; the rest is for
# windows that turn out shorter than planned. RAPL's windows are 75 ms: 16 blocks fit into 5 s.
WINDOW_ERROR = 4 / 3

# The shorter the windows, the less of what changes with time differs between a block's four. With
# 5 % more work a verdict took 0.02 s with windows of 0.2 ms, 0.39 s with 1 ms (docs/gate.md). The
# readings around a window take 0.06 ms. Between sides further apart than a factor of 2 no verdict
# needs that, and the cheap side's first call pays for the cache that the other one filled: T1
# against t1_half came out as 32 with windows of 1 ms, and as 19 to 24 with 0.1 ms (five times each,
# in turns).
SHORTEST_PAIRED_WINDOW_S = 0.0001
# Of five timings of half a millisecond one is undisturbed, even if three programs share each CPU.
TIMINGS = 5

WINDOWS_OF_A_BLOCK = len(ORDERS[0])

Side = TypeVar("Side")
Decided = Callable[[GpsUp], bool]
"""Whether more blocks are of no use. May be called after each block: the intervals allow it."""


def never(ratios: GpsUp) -> bool:
    """Measure for as long as the plan allows."""
    return False


def versus(
    baseline: Callable[..., object],
    candidate: Callable[..., object],
    *args: object,
    meter: Meter | None = None,
    plan: Plan = Plan(),
    decided: Decided = never,
    coin: random.Random | None = None,
) -> Comparison:
    """Compare ``baseline(*args)`` with ``candidate(*args)``, in turns.

    Ends when ``decided`` returns True or the time ends. Takes at least the blocks that a finite
    interval needs, for at most four times the time allowed. Raises `MeterFailed`, and what either
    function raises::

        comparison = versus(fp32, int8, x)
        comparison.greenup.low > 1.2
    """
    if meter is None:
        with open_meter() as opened:
            return versus(
                baseline, candidate, *args, meter=opened, plan=plan, decided=decided, coin=coin
            )
    sides = {"A": _bind(baseline, args), "B": _bind(candidate, args)}
    take_window_of = _window_takers(meter, sides, plan)

    coin = coin or random.Random()

    def take() -> Block:
        order = coin.choice(ORDERS)
        return Block(order, tuple(take_window_of[letter]() for letter in order))

    waits = ThreadWaits()
    blocks = take_blocks(take, info(meter), plan, decided)
    waiting_share = waits.share_of_several()
    compared = comparison_of(name_of(baseline), blocks, info(meter), plan.alpha)
    return replace(compared, waiting_share=waiting_share)


def versus_many(
    baseline: Callable[..., object],
    candidates: Mapping[str, Callable[..., object]],
    *args: object,
    meter: Meter | None = None,
    plan: Plan = Plan(),
    decided: Decided = never,
    coin: random.Random | None = None,
) -> dict[str, Comparison]:
    """Compare ``baseline(*args)`` with each of ``candidates``, measuring the baseline once.

    A block holds each side twice, in a random order and its mirror: A B C D D C B A. Each candidate
    has an ABBA or BAAB in it, so each comparison is as valid as that of `versus`. The comparisons
    share the baseline's windows, so their errors are correlated. A candidate leaves the blocks when
    it is ``decided``. The time is ``plan.max_time_s`` per candidate.

    Raises `MeterFailed`, what any function raises, and `OptionError` if there is no candidate::

        comparisons = versus_many(fp32, {"int8": int8, "pruned": pruned}, x)
        comparisons["int8"].greenup.low > 1.2
    """
    if not candidates:
        raise OptionError(
            "versus_many has no candidate: give it a mapping of at least one name to a function"
        )
    if meter is None:
        with open_meter() as opened:
            return versus_many(
                baseline, candidates, *args, meter=opened, plan=plan, decided=decided, coin=coin
            )
    coin = coin or random.Random()
    known = info(meter)
    # The baseline's key is None, which no name can be.
    sides: dict[str | None, Call] = {
        None: _bind(baseline, args),
        **{name: _bind(call, args) for name, call in candidates.items()},
    }
    take_window_of = _window_takers(meter, sides, plan)
    pending = {name: PendingComparison(known, plan, decided) for name in candidates}
    waiting = list(candidates)
    allowed_s = plan.max_time_s * len(candidates)
    waits = ThreadWaits()
    began = now_s()
    while waiting:
        half = coin.sample([None, *waiting], len(waiting) + 1)
        windows = [(name, take_window_of[name]()) for name in half + half[::-1]]
        for name in waiting:
            pending[name].add(_block_of(name, windows))
        spent_s = now_s() - began
        waiting = [
            name
            for name in waiting
            if not pending[name].settled() and not _time_is_up(spent_s, allowed_s, pending[name])
        ]
    label, waiting_share = name_of(baseline), waits.share_of_several()
    return {
        name: replace(
            comparison_of(label, comparison.blocks, known, plan.alpha), waiting_share=waiting_share
        )
        for name, comparison in pending.items()
    }


def _block_of(name: str, windows: Sequence[tuple[str | None, Window]]) -> Block:
    """One candidate's block with the baseline, out of a block of many."""
    of_two = [
        ("A" if side is None else "B", window) for side, window in windows if side in (None, name)
    ]
    return Block("".join(letter for letter, _ in of_two), tuple(window for _, window in of_two))


def take_blocks(
    take: Callable[[], Block],
    meter: MeterInfo,
    plan: Plan,
    decided: Decided,
    clock: Callable[[], float] | None = None,
) -> tuple[Block, ...]:
    """Blocks until ``decided`` or the time ends.

    Takes at least those that a finite interval needs, for at most four times the time allowed.
    """
    pending = PendingComparison(meter, plan, decided)
    plan.on_step(Step("blocks", allowed_s=plan.max_time_s))
    read_clock = clock or now_s  # not as the default value: tests replace now_s
    began = read_clock()
    while True:
        pending.add(take())
        spent_s = read_clock() - began
        plan.on_step(Step("blocks", len(pending.blocks), spent_s, plan.max_time_s))
        if pending.settled() or _time_is_up(spent_s, plan.max_time_s, pending):
            return tuple(pending.blocks)


class PendingComparison:
    """One comparison that is under way: its blocks so far, and when to look at them."""

    def __init__(self, meter: MeterInfo, plan: Plan, decided: Decided):
        self.blocks: list[Block] = []
        self.usable = 0  # those that other processes did not hit unequally
        self.needed = fewest_blocks(plan.least_alpha)
        self._next_look = fewest_blocks(plan.alpha)
        self._meter, self._plan, self._decided = meter, plan, decided

    def add(self, block: Block) -> None:
        self.blocks.append(block)
        self.usable += not hit_unequally(block)

    def settled(self) -> bool:
        """Whether to stop; call it after each block."""
        taken = len(self.blocks)
        if taken < self._next_look:
            return False
        self._next_look = max(taken + 1, int(taken * LOOK_GROWTH))
        return taken >= MOST_BLOCKS or self._decided(
            ratios_to_judge(self.blocks, self._meter, self._plan)
        )

    def has_enough(self) -> bool:
        """Whether the intervals are finite, or could not become so in `OVERTIME`."""
        few = self.usable < self.needed <= self.usable * OVERTIME
        return len(self.blocks) >= self.needed and not few


def _time_is_up(spent_s: float, allowed_s: float, pending: PendingComparison) -> bool:
    return spent_s >= (allowed_s if pending.has_enough() else OVERTIME * allowed_s)


def ratios_to_judge(blocks: Sequence[Block], meter: MeterInfo, plan: Plan) -> GpsUp:
    """The ratios that `decided` gets: of net joules, if the plan has the idle power."""
    alphas = plan.alpha, plan.alarm_alpha
    if plan.idle_watts is not None:
        return net_gps_up(blocks, meter, *alphas, plan.idle_watts)
    return gps_up(blocks, meter, *alphas)


def comparison_of(
    baseline_name: str, blocks: Sequence[Block], meter: MeterInfo, alpha: float
) -> Comparison:
    """The ratios of the blocks, with intervals that hold at any stopping time."""
    ratios = gps_up(blocks, meter, alpha)
    return Comparison(
        baseline_name,
        ratios.speedup,
        ratios.greenup,
        ratios.powerup,
        ratios.category,
        tuple(blocks),
        1 - alpha,
        meter,
    )


def match_calls(
    calls: Mapping[Side, int], seconds_per_call: Mapping[Side, float]
) -> dict[Side, int]:
    """Calls per window: equal for all sides that take about as long as the first, the most of them.

    Where 4 calls ended after the scheduler's time slice and 3 before it, 3 of 17 comparisons of the
    same code came out improved (docs/gate.md).
    """
    first_s = next(iter(seconds_per_call.values()))
    similar = [
        side
        for side, seconds in seconds_per_call.items()
        if max(seconds, first_s) <= SIMILAR_FACTOR * min(seconds, first_s)
    ]
    most = max(calls[side] for side in similar)
    return {side: most if side in similar else count for side, count in calls.items()}


def _window_takers(
    meter: Meter, sides: Mapping[Side, Call], plan: Plan
) -> dict[Side, Callable[[], Window]]:
    """Warm up and calibrate; returns a function per side that takes one of its windows.

    The baseline comes first in ``sides``.
    """
    error = plan.max_quantisation
    if meter.provenance != "estimated" or plan.gate_estimates:
        error = WINDOW_ERROR * min(error, plan.tolerance * COUNTER_SHARE)
    finer = replace(plan, max_quantisation=error)
    plan.on_step(Step("warm-up"))
    warm_s = {
        side: warm_up(call, plan.max_time_s * WARM_UP_SHARE / 2) for side, call in sides.items()
    }
    seconds = {side: fastest_seconds_per_call(call, warm_s[side]) for side, call in sides.items()}
    plan.on_step(Step("calibration"))
    similar = max(seconds.values()) <= SIMILAR_FACTOR * min(seconds.values())
    shortest_s = SHORTEST_PAIRED_WINDOW_S if similar else SHORTEST_WINDOW_S
    calls = match_calls(
        {
            side: calls_per_window(meter, call, seconds[side], finer, shortest_s)
            for side, call in sides.items()
        },
        seconds,
    )

    # All sides or none: a fresh time slice is an advantage.
    yields_first = need_fresh_slices(max(calls[side] * seconds[side] for side in sides))

    def taker(side: Side) -> Callable[[], Window]:
        def take() -> Window:
            if yields_first:
                yield_cpu()
            return take_window(meter, sides[side], calls[side], plan)

        return take

    return {side: taker(side) for side in sides}


def need_fresh_slices(longest_window_s: float) -> bool:
    """Whether each window of a comparison starts with a fresh time slice.

    Where a whole block fits into a slice, its windows are rarely interrupted anyway, and beside
    busy programs each fresh slice costs a wait.
    """
    return TIME_SLICE_S / WINDOWS_OF_A_BLOCK < longest_window_s <= TIME_SLICE_S


@untraced()
def fastest_seconds_per_call(call: Call, seconds_per_call: float) -> float:
    """Seconds per call in the fastest of a few short timings: what an undisturbed call takes."""
    calls = max(1, int(SHORTEST_WINDOW_S / 2 / max(seconds_per_call, 1e-9)))

    def timed_s() -> float:
        began = now_s()
        for _ in repeat(None, calls):
            call()
        return (now_s() - began) / calls

    return min(timed_s() for _ in range(TIMINGS))


def _bind(function: Callable[..., object], args: tuple[object, ...]) -> Call:
    return partial(function, *args) if args else function

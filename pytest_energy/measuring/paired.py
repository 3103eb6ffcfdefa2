"""Two pieces of code, or one against many, measured in turns.

Two batches measured one after the other are not comparable on a shared machine: it drifts by tens of
per cent within minutes. So the two take turns in short windows, in blocks of four, ABBA or BAAB by a coin:
drift that is linear over a block cancels, what the second of a pair pays for coming second is
paid by both sides, and the coin makes the sign of what is left fair. Each block gives one log-ratio.

That is the whole of what the intervals assume: whatever the machine does to the four windows of a block, it does
without knowing how the coin fell. Then a block's log-ratio lies above the truth as often as below, whatever the noise's
distribution is, and however it hangs together from block to block.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import TypeVar

from pytest_energy.errors import OptionError
from pytest_energy.measuring.single import OVERTIME, WARM_UP_SHARE, calibrate, name_of, warm_up
from pytest_energy.measuring.window import take_window, untraced
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.model import ORDERS, Block, Comparison, MeterInfo, Window
from pytest_energy.plan import Call, Plan, Step
from pytest_energy.stats.gps_up import COUNTER_SHARE, GpsUp, gps_up
from pytest_energy.stats.order_statistics import blocks_needed

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True

# More blocks narrow the interval by less than the machine's own bias between two identical functions.
MOST_BLOCKS = 1000
# The intervals allow for a look after each block. Working them out takes as long as a short block from some hundred
# blocks on, so the looks are spread out: a verdict comes at most this much later than it could.
LOOK_GROWTH = 1.05
# A scheduler's turn is 3 to 4 ms, after which a process that others wait for is interrupted. Windows well within one are
# mostly left alone, and the median does not mind the others; a window of 10 ms always holds a neighbour's turn, or half of
# one. These are 1 to 2 ms long where a call is shorter. At load 5 on two CPUs they settled 33 of 34 comparisons in 1.3 s
# (median), windows of 2 ms 32 of 34 in 1.8 s, and 10 ms almost none in 5 s.
SHORTEST_WINDOW_S = 0.001
# Windows up to this long start with a turn: we give way before each, so that ours begins anew, which on an idle machine costs
# under a microsecond. Half of the blocks of 2 ms windows came out within 4.5 % so, and within 8 % without. Longer windows must
# not: all of one length would end on the same side of the turn's end, and a candidate that takes 1 % more on the other.
# 2 ms is too little for calls of a millisecond: two of 0.98 ms give way, two with 5 % more do not, and then none may. With 2.5 ms
# gate_live.py settled all of its 80 pairs (docs/gate.md).
TURN_S = 0.0025
# Sides whose calls take alike get equally many into a window, or the longer window is interrupted more often. With 4 calls
# (3.8 ms) against 3 of the same code, 3 of 17 comparisons came out improved at load 5. Beyond a factor of 2, which also allows
# for what a neighbour does to the timing, no verdict hangs on it.
ALIKE = 2.0
# A side has two windows in a block, so each may err by twice what the block may. The rest is for windows that turn out
# shorter than calibrated. RAPL's windows are 75 ms so, and 16 blocks fit into 5 s; at 100 ms 12 do, and 11 are the fewest.
WINDOW_ERROR = 4 / 3

# Of five timings of half a millisecond one is left alone, even where three want each CPU.
TIMINGS = 5

Side = TypeVar("Side")
Decided = Callable[[GpsUp], bool]
"""Whether nothing more has to be known. May be asked after each block: the intervals allow for that."""


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
    """Compare ``baseline(*args)`` with ``candidate(*args)``, in turns, until ``decided`` or the time is used up.

    At least so many blocks are taken that the intervals can be finite, up to four times the time allowed.
    Raises what either of the two raises, and `MeterFailed`::

        comparison = versus(fp32, int8, x)
        comparison.greenup.low > 1.2
    """
    if meter is None:
        with open_meter() as opened:
            return versus(
                baseline, candidate, *args, meter=opened, plan=plan, decided=decided, coin=coin
            )
    sides = {"A": _bound(baseline, args), "B": _bound(candidate, args)}
    takers = _takers(meter, sides, plan)

    coin = coin or random.Random()

    def take() -> list[Block]:
        order = coin.choice(ORDERS)
        return [Block(order, tuple(takers[letter]() for letter in order))]

    blocks = take_blocks(take, info(meter), plan, decided)
    return comparison_of(name_of(baseline), blocks, info(meter), plan.alpha)


def versus_many(
    baseline: Callable[..., object],
    candidates: Mapping[str, Callable[..., object]],
    *args: object,
    meter: Meter | None = None,
    plan: Plan = Plan(),
    decided: Decided = never,
    coin: random.Random | None = None,
) -> dict[str, Comparison]:
    """Compare ``baseline(*args)`` with each of ``candidates``, by name, measuring the baseline once for all of them.

    A block holds each side twice, in a random order and then in its mirror: A B C D D C B A. For each candidate it is an ABBA
    or a BAAB with something in between, so each comparison is valid by itself, exactly as that of `versus`. What they share
    is the baseline's windows: where those were unlucky, all the comparisons lean the same way. The chance that any one of
    them is wrong is therefore at most the sum of theirs, as always, but one of them being wrong makes the others likelier
    to be. A candidate that is ``decided`` leaves the blocks; the time is ``plan.max_time_s`` for each candidate.

    Raises what any of them raises, `MeterFailed`, and `OptionError` where there is no candidate::

        comparisons = versus_many(fp32, {"int8": int8, "pruned": pruned}, x)
        comparisons["int8"].greenup.low > 1.2
    """
    if not candidates:
        raise OptionError(
            "versus_many was given no candidate: it takes a mapping of at least one name to a function"
        )
    if meter is None:
        with open_meter() as opened:
            return versus_many(
                baseline, candidates, *args, meter=opened, plan=plan, decided=decided, coin=coin
            )
    coin = coin or random.Random()
    known = info(meter)
    # None stands for the baseline, which no name can be.
    sides: dict[str | None, Call] = {
        None: _bound(baseline, args),
        **{name: _bound(call, args) for name, call in candidates.items()},
    }
    takers = _takers(meter, sides, plan)
    questions = {name: _Question(known, plan, decided) for name in candidates}
    waiting = list(candidates)
    allowed_s = plan.max_time_s * len(candidates)
    began = perf_counter()
    while waiting:
        half = coin.sample([None, *waiting], len(waiting) + 1)
        windows = [(name, takers[name]()) for name in half + half[::-1]]
        for name in waiting:
            questions[name].add([_block_of(name, windows)])
        spent_s = perf_counter() - began
        waiting = [
            name
            for name in waiting
            if not questions[name].settled()
            and not _time_is_up(spent_s, allowed_s, questions[name])
        ]
    label = name_of(baseline)
    return {
        name: comparison_of(label, question.blocks, known, plan.alpha)
        for name, question in questions.items()
    }


def _block_of(name: str, windows: Sequence[tuple[str | None, Window]]) -> Block:
    """One candidate's block, and the baseline's, out of a block of many."""
    of_two = [
        ("A" if side is None else "B", window) for side, window in windows if side in (None, name)
    ]
    return Block("".join(letter for letter, _ in of_two), tuple(window for _, window in of_two))


def take_blocks(
    take: Callable[[], Sequence[Block]],
    meter: MeterInfo,
    plan: Plan,
    decided: Decided,
    clock: Callable[[], float] = perf_counter,
) -> tuple[Block, ...]:
    """Blocks, a replicate's at a time from ``take``, until ``decided`` or the time is used up.

    At least so many replicates are taken that the intervals can be finite, up to four times the time allowed.
    """
    question = _Question(meter, plan, decided)
    plan.tell(Step("blocks", allowed_s=plan.max_time_s))
    began = clock()
    while True:
        question.add(take())
        spent_s = clock() - began
        plan.tell(Step("blocks", len(question.blocks), spent_s, plan.max_time_s))
        if question.settled() or _time_is_up(spent_s, plan.max_time_s, question):
            return tuple(question.blocks)


class _Question:
    """One comparison that is under way."""

    def __init__(self, meter: MeterInfo, plan: Plan, decided: Decided):
        self.blocks: list[Block] = []
        self.taken = 0  # replicates
        self.needed = self._next_look = blocks_needed(plan.alpha)
        self._meter, self._alpha, self._decided = meter, plan.alpha, decided

    def add(self, replicate: Sequence[Block]) -> None:
        self.blocks += replicate
        self.taken += 1

    def settled(self) -> bool:
        """To be asked after each replicate."""
        if self.taken < self._next_look:
            return False
        self._next_look = max(self.taken + 1, int(self.taken * LOOK_GROWTH))
        return self.taken >= MOST_BLOCKS or self._decided(
            gps_up(self.blocks, self._meter, self._alpha)
        )


def _time_is_up(spent_s: float, allowed_s: float, question: _Question) -> bool:
    return spent_s >= (allowed_s if question.taken >= question.needed else OVERTIME * allowed_s)


def comparison_of(
    baseline_name: str, blocks: Sequence[Block], meter: MeterInfo, alpha: float
) -> Comparison:
    """What the blocks say, with intervals that hold however it was decided to stop."""
    ratios = gps_up(blocks, meter, alpha)
    return Comparison(
        baseline_name, ratios.speedup, ratios.greenup, ratios.powerup, ratios.category, tuple(blocks), 1 - alpha
    )  # fmt: skip


def match_calls(
    calls: Mapping[Side, int], seconds_per_call: Mapping[Side, float]
) -> dict[Side, int]:
    """Calls per window such that sides like the first have equally long windows: the most that any of those needs."""
    first_s = next(iter(seconds_per_call.values()))
    alike = [
        side
        for side, seconds in seconds_per_call.items()
        if max(seconds, first_s) <= ALIKE * min(seconds, first_s)
    ]
    most = max(calls[side] for side in alike)
    return {side: most if side in alike else count for side, count in calls.items()}


def _takers(
    meter: Meter, sides: Mapping[Side, Call], plan: Plan
) -> dict[Side, Callable[[], Window]]:
    """What takes a window of each side, warmed up and calibrated. The baseline comes first."""
    error = WINDOW_ERROR * min(plan.max_quantisation, plan.tolerance * COUNTER_SHARE)
    finer = replace(plan, max_quantisation=error)
    plan.tell(Step("warm-up"))
    warm_s = {
        side: warm_up(call, plan.max_time_s * WARM_UP_SHARE / 2) for side, call in sides.items()
    }
    seconds = {side: _fastest_s(call, warm_s[side]) for side, call in sides.items()}
    plan.tell(Step("calibration"))
    calls = match_calls(
        {
            side: calibrate(meter, call, seconds[side], finer, SHORTEST_WINDOW_S)
            for side, call in sides.items()
        },
        seconds,
    )

    # All of them or none: a side that gives way has an advantage over one that does not.
    within_a_turn = max(calls[side] * seconds[side] for side in sides) <= TURN_S

    def taker(side: Side) -> Callable[[], Window]:
        def take() -> Window:
            if within_a_turn:
                _give_way()
            return take_window(meter, sides[side], calls[side], plan)

        return take

    return {side: taker(side) for side in sides}


@untraced()
def _fastest_s(call: Call, seconds_per_call: float) -> float:
    """The seconds per call of the fastest of a few short timings: what a call takes where nobody interrupts it."""
    calls = max(1, int(SHORTEST_WINDOW_S / 2 / max(seconds_per_call, 1e-9)))

    def timed_s() -> float:
        began = perf_counter()
        for _ in repeat(None, calls):
            call()
        return (perf_counter() - began) / calls

    return min(timed_s() for _ in range(TIMINGS))


# Windows has none; there, windows start anywhere.
_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def _bound(function: Callable[..., object], args: tuple[object, ...]) -> Call:
    return partial(function, *args) if args else function

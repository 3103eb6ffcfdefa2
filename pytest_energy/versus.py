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

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

from pytest_energy.gpsup import COUNTER_SHARE, GpsUp, gps_up
from pytest_energy.measure import OVERTIME, WARM_UP_SHARE, Call, Plan, calibrate, name_of, take_window, warm_up
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.reading import ORDERS, Block, Comparison, MeterInfo
from pytest_energy.stats import blocks_needed

# More blocks narrow the interval by less than the machine's own bias between two identical functions.
MOST_BLOCKS = 1000
# The intervals allow for a look after each block. Working them out takes as long as a short block from some hundred
# blocks on, so the looks are spread out: a verdict comes at most this much later than it could.
LOOK_GROWTH = 1.05
# A scheduler's turn is some milliseconds. Windows within one are mostly left alone, and the median does not mind the others;
# a window of 10 ms always holds a neighbour's turn, or half of one. On two CPUs with two neighbours windows of 2 and 3 ms
# decided +5 % in 1.6 and 2 s (median), those of 10 ms in no 5 s nine times in ten; 1 ms was worse than 2, being mostly the
# first call after giving way.
SHORTEST_WINDOW_S = 0.002
# A side has two windows in a block, so each may err by twice what the block may. The rest is for windows that turn out
# shorter than calibrated. RAPL's windows are 75 ms so, and 16 blocks fit into 5 s; at 100 ms 12 do, and 11 are the fewest.
WINDOW_ERROR = 4 / 3

Decided = Callable[[GpsUp], bool]
"""Whether nothing more has to be known. May be asked after each block: the intervals allow for that."""


def never(ratios: GpsUp) -> bool:
    """Measure for as long as the plan allows."""
    return False


def versus(
    baseline: Callable,
    candidate: Callable,
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
            return versus(baseline, candidate, *args, meter=opened, plan=plan, decided=decided, coin=coin)
    sides = {"A": partial(baseline, *args) if args else baseline, "B": partial(candidate, *args) if args else candidate}
    calls = {letter: _calls(meter, call, plan) for letter, call in sides.items()}

    def take(order: str) -> Block:
        return Block(order, tuple(take_window(meter, sides[letter], calls[letter], plan) for letter in order))

    blocks = take_blocks(take, info(meter), plan, decided, coin or random.Random())
    return comparison_of(name_of(baseline), blocks, info(meter), plan.alpha)


def take_blocks(
    take: Callable[[str], Block],
    meter: MeterInfo,
    plan: Plan,
    decided: Decided,
    coin: random.Random,
    clock: Callable[[], float] = perf_counter,
) -> tuple[Block, ...]:
    """Blocks, each from ``take`` in the order that the coin gives, until ``decided`` or the time is used up.

    At least so many are taken that the intervals can be finite, up to four times the time allowed.
    """
    needed = next_look = blocks_needed(plan.alpha)
    blocks: list[Block] = []
    began = clock()
    while True:
        blocks.append(take(coin.choice(ORDERS)))
        spent_s = clock() - began
        if spent_s >= (plan.max_time_s if len(blocks) >= needed else OVERTIME * plan.max_time_s) or len(blocks) >= MOST_BLOCKS:
            break
        if len(blocks) >= next_look:
            if decided(gps_up(blocks, meter, plan.alpha)):
                break
            next_look = max(len(blocks) + 1, int(len(blocks) * LOOK_GROWTH))
    return tuple(blocks)


def comparison_of(baseline_name: str, blocks: Sequence[Block], meter: MeterInfo, alpha: float) -> Comparison:
    """What the blocks say, with intervals that hold however it was decided to stop."""
    ratios = gps_up(blocks, meter, alpha)
    return Comparison(
        baseline_name, ratios.speedup, ratios.greenup, ratios.powerup, ratios.category, tuple(blocks), 1 - alpha
    )  # fmt: skip


def _calls(meter: Meter, call: Call, plan: Plan) -> int:
    seconds_per_call = warm_up(call, plan.max_time_s * WARM_UP_SHARE / 2)
    error = WINDOW_ERROR * min(plan.max_quantisation, plan.tolerance * COUNTER_SHARE)
    return calibrate(meter, call, seconds_per_call, replace(plan, max_quantisation=error), SHORTEST_WINDOW_S)

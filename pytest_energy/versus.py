"""Two pieces of code, measured in turns.

Two batches measured one after the other are not comparable on a shared machine: it drifts by tens of
per cent within minutes. So the two take turns in short windows, in blocks of four, ABBA or BAAB by a coin:
drift that is linear over a block cancels, what the second of a pair pays for coming second is
paid by both sides, and the coin makes the sign of what is left fair. Each block gives one log-ratio.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from time import perf_counter

from pytest_energy.gpsup import GpsUp, gps_up
from pytest_energy.measure import OVERTIME, WARM_UP_SHARE, Call, Plan, calibrate, take_window, warm_up
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.reading import ORDERS, Block, Comparison
from pytest_energy.stats import blocks_needed

# More blocks narrow the interval by less than the machine's own bias between two identical functions.
MOST_BLOCKS = 1000

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
    coin = coin or random.Random()
    sides = {"A": partial(baseline, *args) if args else baseline, "B": partial(candidate, *args) if args else candidate}
    calls = {letter: _calls(meter, call, plan) for letter, call in sides.items()}
    needed = blocks_needed(plan.alpha)
    blocks: list[Block] = []
    began = perf_counter()
    while True:
        order = coin.choice(ORDERS)
        blocks.append(Block(order, tuple(take_window(meter, sides[letter], calls[letter], plan) for letter in order)))
        spent_s = perf_counter() - began
        if spent_s >= OVERTIME * plan.max_time_s:
            break
        if len(blocks) < needed:
            continue
        if spent_s >= plan.max_time_s or len(blocks) >= MOST_BLOCKS or decided(gps_up(blocks, info(meter), plan.alpha)):
            break
    ratios = gps_up(blocks, info(meter), plan.alpha)
    return Comparison(
        getattr(baseline, "__qualname__", type(baseline).__name__),
        ratios.speedup,
        ratios.greenup,
        ratios.powerup,
        ratios.category,
        tuple(blocks),
        1 - plan.alpha,
    )


def _calls(meter: Meter, call: Call, plan: Plan) -> int:
    seconds_per_call = warm_up(call, plan.max_time_s * WARM_UP_SHARE / 2)
    return calibrate(meter, call, seconds_per_call, plan)

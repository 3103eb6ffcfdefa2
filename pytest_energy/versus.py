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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

from pytest_energy.errors import OptionError
from pytest_energy.gpsup import COUNTER_SHARE, GpsUp, gps_up
from pytest_energy.measure import OVERTIME, WARM_UP_SHARE, Call, Plan, calibrate, name_of, take_window, warm_up
from pytest_energy.meters import Meter, info, open_meter
from pytest_energy.reading import ORDERS, Block, Comparison, MeterInfo, Window
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
    sides = {"A": _bound(baseline, args), "B": _bound(candidate, args)}
    calls = {letter: _calls(meter, call, plan) for letter, call in sides.items()}

    def take(order: str) -> Block:
        return Block(order, tuple(take_window(meter, sides[letter], calls[letter], plan) for letter in order))

    blocks = take_blocks(take, info(meter), plan, decided, coin or random.Random())
    return comparison_of(name_of(baseline), blocks, info(meter), plan.alpha)


def versus_many(
    baseline: Callable,
    candidates: Mapping[str, Callable],
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
        raise OptionError("versus_many was given no candidate: it takes a mapping of at least one name to a function")
    if meter is None:
        with open_meter() as opened:
            return versus_many(baseline, candidates, *args, meter=opened, plan=plan, decided=decided, coin=coin)
    coin = coin or random.Random()
    known = info(meter)
    # None stands for the baseline, which no name can be.
    sides: dict[str | None, Call] = {name: _bound(call, args) for name, call in {None: baseline, **candidates}.items()}
    calls = {name: _calls(meter, call, plan) for name, call in sides.items()}
    questions = {name: _Question(known, plan, decided) for name in candidates}
    waiting = list(candidates)
    allowed_s = plan.max_time_s * len(candidates)
    began = perf_counter()
    while waiting:
        half = coin.sample([None, *waiting], len(waiting) + 1)
        windows = [(name, take_window(meter, sides[name], calls[name], plan)) for name in half + half[::-1]]
        for name in waiting:
            questions[name].blocks.append(_block_of(name, windows))
        spent_s = perf_counter() - began
        waiting = [
            name
            for name in waiting
            if not questions[name].settled() and not _time_is_up(spent_s, allowed_s, questions[name])
        ]
    label = name_of(baseline)
    return {name: comparison_of(label, question.blocks, known, plan.alpha) for name, question in questions.items()}


def _block_of(name: str, windows: Sequence[tuple[str | None, Window]]) -> Block:
    """One candidate's block, and the baseline's, out of a block of many."""
    of_two = [("A" if side is None else "B", window) for side, window in windows if side in (None, name)]
    return Block("".join(letter for letter, _ in of_two), tuple(window for _, window in of_two))


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
    question = _Question(meter, plan, decided)
    began = clock()
    while True:
        question.blocks.append(take(coin.choice(ORDERS)))
        if question.settled() or _time_is_up(clock() - began, plan.max_time_s, question):
            return tuple(question.blocks)


class _Question:
    """One comparison that is under way."""

    def __init__(self, meter: MeterInfo, plan: Plan, decided: Decided):
        self.blocks: list[Block] = []
        self.needed = self._next_look = blocks_needed(plan.alpha)
        self._meter, self._alpha, self._decided = meter, plan.alpha, decided

    def settled(self) -> bool:
        """To be asked after each block."""
        taken = len(self.blocks)
        if taken < self._next_look:
            return False
        self._next_look = max(taken + 1, int(taken * LOOK_GROWTH))
        return taken >= MOST_BLOCKS or self._decided(gps_up(self.blocks, self._meter, self._alpha))


def _time_is_up(spent_s: float, allowed_s: float, question: _Question) -> bool:
    return spent_s >= (allowed_s if len(question.blocks) >= question.needed else OVERTIME * allowed_s)


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


def _bound(function: Callable, args: tuple) -> Call:
    return partial(function, *args) if args else function

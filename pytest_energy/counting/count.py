"""A call -> its counted work: the least of a few counts, less the cost of counting."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import repeat

from pytest_energy.clock import now_s
from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.counter import Counter
from pytest_energy.model import CountedWork

# The interpreter specialises a code object in its first calls, which do 2 % more work: at least
# this many uncounted calls come first, and more as long as they are quick.
WARM_UP_CALLS, MOST_WARM_UP_CALLS, WARM_UP_S = 3, 30, 2.0
# Counts go on until the two least agree this closely, or there are MOST_COUNTS of them.
AGREED, MOST_COUNTS = 1e-4, 10
FEWEST_COUNTS = 4
# The place of a call's objects in Python's memory pools is random: a loop that fills and empties a
# pool at each turn does 2 % more. So before each count, another number of small objects is made.
PADDED_SIZES, PADDING_STEP, PADDING_LIMIT = range(1, 512, 16), 37, 128


def count_work(call: Callable[[], object], counter: Counter, overhead: Dump) -> CountedWork:
    """Count ``call`` a few times and keep the least. Raises what ``call`` raises.

    ``overhead`` is what an empty call counts: see `count_overhead`.
    """
    return count_calls(repeat(call), counter, overhead)


def count_calls(
    calls: Iterator[Callable[[], object]], counter: Counter, overhead: Dump
) -> CountedWork:
    """As `count_work`, with a fresh call for each count: ``calls`` may prepare it uncounted."""
    began_s = now_s()
    for call in range(MOST_WARM_UP_CALLS):
        if call >= WARM_UP_CALLS and now_s() - began_s > WARM_UP_S:
            break
        next(calls)()
    least, counts = _least(calls, counter)
    ordered = sorted(counts)
    spread = (ordered[1] - ordered[0]) / ordered[0] if ordered[0] else 0.0
    events = {
        name: max(0, count - overhead.events.get(name, 0)) for name, count in least.events.items()
    }
    functions = {
        name: own
        for name, count in least.functions.items()
        if (own := count - overhead.functions.get(name, 0)) > 0
    }
    return CountedWork(counter.tool, events, spread, len(counts), functions)


def count_overhead(counter: Counter) -> Dump:
    """What the counting itself costs: the count of a call that does nothing."""
    return _least(repeat(lambda: None), counter)[0]


def _least(calls: Iterator[Callable[[], object]], counter: Counter) -> tuple[Dump, list[int]]:
    """The dump with the fewest instructions, and the instructions of every count."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection may come at any time, and is no part of the call
    try:
        dumps: list[Dump] = []
        while len(dumps) < MOST_COUNTS:
            padding = _padding(len(dumps))
            dumps.append(counter.count(next(calls)))
            del padding
            counts = sorted(dump.events["instructions"] for dump in dumps)
            if len(counts) >= FEWEST_COUNTS and counts[1] - counts[0] <= AGREED * counts[0]:
                break
    finally:
        if collecting:
            gc.enable()
    least = min(dumps, key=lambda dump: dump.events["instructions"])
    return least, [dump.events["instructions"] for dump in dumps]


def _padding(number: int) -> list[bytes]:
    """Small objects of every size class; their number differs from count to count."""
    objects = number * PADDING_STEP % PADDING_LIMIT
    return [bytes(size) for size in PADDED_SIZES for _ in range(objects)]

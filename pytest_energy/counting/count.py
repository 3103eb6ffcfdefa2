"""One callable -> its counted work: the least of a few counts, less the cost of counting."""

from __future__ import annotations

import gc
from collections.abc import Callable

from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.counter import Counter
from pytest_energy.model import CountedWork

# The interpreter specialises a code object in its first calls: two or three counts are higher.
WARM_UP_CALLS = 3
# Counts go on until the two least agree this closely, or there are MOST_COUNTS of them.
AGREED, MOST_COUNTS = 1e-4, 8
FEWEST_COUNTS = 2


def count_work(call: Callable[[], object], counter: Counter, overhead: Dump) -> CountedWork:
    """Count ``call`` a few times and keep the least. Raises what ``call`` raises.

    ``overhead`` is what an empty call counts: see `count_overhead`.
    """
    for _ in range(WARM_UP_CALLS):
        call()
    least, counts = _least(call, counter, MOST_COUNTS)
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
    return _least(lambda: None, counter, MOST_COUNTS)[0]


def _least(call: Callable[[], object], counter: Counter, most: int) -> tuple[Dump, list[int]]:
    """The dump with the fewest instructions, and the instructions of every count."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection belongs to no call, and comes when it likes
    try:
        dumps: list[Dump] = []
        while len(dumps) < most:
            dumps.append(counter.count(call))
            counts = sorted(dump.events["instructions"] for dump in dumps)
            if len(counts) >= FEWEST_COUNTS and counts[1] - counts[0] <= AGREED * counts[0]:
                break
    finally:
        if collecting:
            gc.enable()
    least = min(dumps, key=lambda dump: dump.events["instructions"])
    return least, [dump.events["instructions"] for dump in dumps]

"""Puts the process's memory into a known state before a count.

The instructions of equal code differ by where its objects lie: by 2 to 5 % for a short loop. The
causes, see docs/counted-work.md:

- Python's pools: a loop that fills and empties a pool at each turn takes the allocator's slow path.
  Here every hole of every size class is filled, and then a pool with room is put first.
- Python's arenas: a new pool comes from a list of old ones, or is cut off an arena, in 60
  instructions more. Every old pool is filled, up to a new arena.
- The C library's free lists: a search through old chunks. They are filled too, and the end of the
  memory neither shrinks nor grows in small steps.
- The interpreter's cache of type attributes, whose places come from addresses and type versions:
  two names that a loop looks up may share a place. The types get new versions in another order.

Each state has another number, so that a count that is unlucky in one state is not in the next.
"""

from __future__ import annotations

import ctypes
import gc
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from operator import itemgetter

from pytest_energy.counting.c_library import CLibrary
from pytest_energy.counting.pymalloc import (
    ARENA_BYTES,
    POOL_BYTES,
    POOL_HEADER_BYTES,
    SIZES,
    blocks_in_pools_with_room,
    blocks_of,
    is_pymalloc,
)

# More holes in one size class are not worth the time.
MOST_HOLES, MOST_FILLS = 100_000, 50
# Blocks in a new pool that belong to what runs meanwhile.
MOST_FOREIGN = 8
# The first pool of each size class is occupied to an eighth, and by up to so many blocks more: each
# state has another number of them, so that no loop of fixed length ends where the pool does in all.
# The room is the same to a few blocks: a block of a new pool takes 7 instructions more.
OCCUPIED, MORE_OCCUPIED = 1 / 8, 7
# Old pools that one state fills at most, 16 MiB, and between two looks at the C library. What a
# call allocates beyond them finds the rest.
MOST_OLD_POOLS, POOLS_AT_ONCE = 1024, 8
PART = 250  # blocks in a list that `make_room` goes through without allocating
# From Python 3.13, a type gets no version after 1000 changes, and is slow from there on.
MOST_RENEWALS = 800
# An attribute that every type inherits from object: a look-up gives the type its version.
INHERITED = "__sizeof__"


class MemoryState:
    """Arranges this process's memory. Does what the interpreter and the C library allow."""

    def __init__(self) -> None:
        self._fill: list[list[object]] = []
        self._reserve: list[list[object]] = []
        self._occupied: list[list[object]] = []
        self._types: list[type] = []
        self._pools_known = is_pymalloc()
        self._renewals = 0
        self._c_library = CLibrary.find()

    def renew_types(self, number: int) -> None:
        """Give every type a new version, in an order that ``number`` chooses.

        The interpreter specialises its code again: warm-up calls have to follow.
        """
        modified = getattr(getattr(ctypes, "pythonapi", None), "PyType_Modified", None)
        if modified is None or self._renewals >= MOST_RENEWALS:
            return
        self._renewals += 1
        self._types = self._types or _all_types()
        modified(ctypes.py_object(object))
        keys = memoryview(random.Random(number).randbytes(8 * len(self._types))).cast("Q")
        ordered = map(itemgetter(1), sorted(zip(keys, self._types, strict=True)))
        look_ups = map(type.__getattribute__, ordered, repeat(INHERITED))
        for _ in self._types:
            with suppress(Exception):  # a class may replace even this attribute
                deque(look_ups, maxlen=0)
                break

    def arrange(self, number: int) -> None:
        """Fill the holes, and hold back a pool of each size class for `make_room`."""
        if self._pools_known:
            # Twice: what the first pass frees at its end leaves holes.
            self._pools_known = self._fill_pools(number)
            self._fill_old_pools()
            self._pools_known = self._pools_known and self._fill_pools(number)
            self._fill_old_pools()
        if self._c_library is not None:
            self._c_library.fill()  # last: lists of blocks came and went

    def release(self) -> None:
        """Free what fills the holes, so that a run of many tests does not grow."""
        self._fill, self._reserve, self._occupied, self._types = [], [], [], []
        if self._c_library is not None:
            self._c_library.release()

    def make_room(self) -> None:
        """The last step before a count: put a pool with room first in each size class.

        Nothing is allocated here, since freeing it would put a full pool first: no iterator, and
        no int above 256.
        """
        reserve = self._reserve
        part = 0
        while part < len(reserve):
            blocks = reserve[part]
            block = 0
            while block < len(blocks):
                blocks[block] = None
                block += 1
            part += 1

    def _fill_pools(self, number: int) -> bool:
        """False where the addresses are not pymalloc's."""
        self._fill += [*self._reserve, *self._occupied]
        self._reserve, self._occupied = [], []
        more = number % MORE_OCCUPIED
        reserve: list[list[object]] = []
        for size in SIZES:
            pool = self._own_pool(size)
            if pool is None:
                return False
            occupied = int(len(pool) * OCCUPIED) + more
            self._occupied.append(pool[:occupied])
            reserve += [pool[at : at + PART] for at in range(occupied, len(pool), PART)]
        self._reserve = reserve
        return True

    def _own_pool(self, size: int) -> list[object] | None:
        """The blocks of a new pool, once no other pool has a hole. None after `MOST_FILLS`."""
        capacity = (POOL_BYTES - POOL_HEADER_BYTES) // size
        for _ in range(MOST_FILLS):
            blocks = blocks_of(size, 1)
            counts = blocks_in_pools_with_room(id(blocks[0]), capacity)
            holes = sum(max(0, capacity - count) for count in counts)
            blocks += blocks_of(size, min(holes, MOST_HOLES))
            new = counts[0] if counts else capacity
            if new <= MOST_FOREIGN and holes <= capacity - new + MOST_FOREIGN:
                own = id(blocks[0]) // POOL_BYTES
                self._fill.append([each for each in blocks if id(each) // POOL_BYTES != own])
                return [each for each in blocks if id(each) // POOL_BYTES == own]
            self._fill.append(blocks)
        return None

    def _fill_old_pools(self) -> None:
        """Occupy the pools that are free, until Python takes a new arena from the C library."""
        library = self._c_library
        if library is None:
            return
        capacity = (POOL_BYTES - POOL_HEADER_BYTES) // SIZES[-1]
        for _ in range(MOST_OLD_POOLS // POOLS_AT_ONCE):
            before = library.allocated_bytes()
            blocks = blocks_of(SIZES[-1], POOLS_AT_ONCE * capacity)
            new_arena = library.allocated_bytes() - before >= ARENA_BYTES
            self._fill.append(blocks)
            if new_arena:
                return


@contextmanager
def without_collector() -> Iterator[None]:
    """Without Python's collector: a collection belongs to no call, and comes when it likes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def settle_collector() -> None:
    """Collect, and leave what is alive out of later collections, which then take no time."""
    gc.collect()
    gc.freeze()


def _all_types() -> list[type]:
    found: dict[type, None] = {}
    pending: list[type] = [object]
    while pending:
        each = pending.pop()
        if each not in found:
            found[each] = None
            pending += type.__subclasses__(each)
    return list(found)

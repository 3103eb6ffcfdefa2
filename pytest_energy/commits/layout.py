"""What of a worker's memory layout is drawn at random.

An edit that changes nothing but where memory lies can make code several per cent slower
(docs/gate.md). With a fixed layout that is a property of the commit, and every replicate repeats
it. With a layout drawn for each process it is noise, which the intervals allow for.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

MOST_ENVIRONMENT_BYTES = 4096
SEEDS = 2**32

# How many blocks of at most so many bytes: they fill the holes of the C heap and move its end. All
# stay below the 128 KiB from which malloc takes whole pages.
BLOCKS = {2048: 64, 8192: 32, 32768: 8, 120_000: 4}
# Python's own allocator has a pool of a page for each multiple of 16 bytes up to 512; bytes objects
# have a header of 33.
SMALL_BYTES = range(8, 472, 16)


@dataclass(frozen=True)
class Layout:
    """The draw for one process."""

    hash_seed: int
    environment_bytes: int
    heap_seed: int

    @classmethod
    def draw(cls, hash_seed: int, coin: random.Random) -> Layout:
        """A layout of its own. Both sides of a pair share the hash seed: it orders their sets, and
        the orders of two sides would differ by more than their commits do."""
        return cls(hash_seed, coin.randrange(MOST_ENVIRONMENT_BYTES), coin.randrange(SEEDS))

    def variables(self) -> dict[str, str]:
        """Environment variables for the process. A hash seed that the user set stays."""
        seed = os.environ.get("PYTHONHASHSEED", str(self.hash_seed))
        return {"PYTHONHASHSEED": seed, "ENERGY_WORKER_PADDING": "-" * self.environment_bytes}


def pad_heap(coin: random.Random) -> list[object]:
    """Memory to keep for the process's life: what is allocated later lies elsewhere."""
    padding: list[object] = [
        bytes(coin.randrange(most // 4, most))
        for most, number in BLOCKS.items()
        for _ in range(number)
    ]
    padding += [object() for _ in range(coin.randrange(256))]
    padding += [float(number) for number in range(coin.randrange(256))]
    padding += [bytes(size) for size in SMALL_BYTES for _ in range(coin.randrange(64))]
    return padding

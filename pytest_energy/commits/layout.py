"""A random memory layout for each worker.

An edit that only moves memory can make code several per cent slower (docs/gate.md). With one fixed
layout, every replicate repeats that error. With a random layout in each process it is noise, and
the intervals include it.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

MOST_ENVIRONMENT_BYTES = 4096
SEEDS = 2**32

# Most bytes of a block: number of blocks. They fill the holes of the C heap and move its end. From
# 128 KiB on, malloc would take whole pages.
BLOCKS = {2048: 64, 8192: 32, 32768: 8, 120_000: 4}
# Python's own allocator has a pool of a page for each multiple of 16 bytes up to 512; bytes objects
# have a header of 33.
SMALL_BYTES = range(8, 472, 16)


@dataclass(frozen=True)
class Layout:
    """The random layout of one process."""

    hash_seed: int
    environment_bytes: int
    heap_seed: int

    @classmethod
    def draw(cls, hash_seed: int, coin: random.Random) -> Layout:
        """A new layout. Both sides of a pair share the hash seed, which orders their sets: two
        orders can differ by more than two commits."""
        return cls(hash_seed, coin.randrange(MOST_ENVIRONMENT_BYTES), coin.randrange(SEEDS))

    def variables(self) -> dict[str, str]:
        """Environment variables for the process. A hash seed that the user set stays."""
        seed = os.environ.get("PYTHONHASHSEED", str(self.hash_seed))
        return {"PYTHONHASHSEED": seed, "ENERGY_WORKER_PADDING": "-" * self.environment_bytes}


def pad_heap(coin: random.Random) -> list[object]:
    """Allocate memory that moves all later allocations. Keep it until the process ends."""
    padding: list[object] = [
        bytes(coin.randrange(most // 4, most))
        for most, number in BLOCKS.items()
        for _ in range(number)
    ]
    padding += [object() for _ in range(coin.randrange(256))]
    padding += [float(number) for number in range(coin.randrange(256))]
    padding += [bytes(size) for size in SMALL_BYTES for _ in range(coin.randrange(64))]
    return padding

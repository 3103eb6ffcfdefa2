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

# Runs in the worker before it imports anything of ours: what is allocated later lies elsewhere.
# One block moves the C heap by up to a page in steps of malloc's 16 bytes; objects of each of
# Python's size classes move what Python allocates within its pools. `padding` is never freed.
PAD_HEAP = """
import random, sys
coin = random.Random(int(sys.argv[3]))
padding = [bytes(1024 + 16 * coin.randrange(256))]
padding += [object() for _ in range(coin.randrange(256))]
padding += [float(number) for number in range(coin.randrange(256))]
padding += [bytes(size) for size in range(8, 472, 16) for _ in range(coin.randrange(64))]
"""


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

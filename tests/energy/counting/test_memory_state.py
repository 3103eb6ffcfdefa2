"""Memory in a known state: in a process of its own, which must end well."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from pytest_energy.counting.memory_state import MemoryState
from pytest_energy.counting.pymalloc import AlignedArenas, blocks_in_pools_with_room
arenas = AlignedArenas()
many = [[bytes(n) for n in range(700)] for _ in range(60)]
del many[::2]  # holes in every size class
state = MemoryState()
for number in range(3):
    state.renew_types(number)
    state.arrange(number)
    state.make_room()
    # What is freed and made again finds its place: no call after this meets a full pool.
    first = [float(n) for n in range(3)]
    places = {id(object()) for _ in range(100)}
    assert len(places) == 1, places
    # Of each size class one pool has room, in every state the same to a few blocks.
    for size in range(128, 512, 64):
        capacity = (16384 - 48) // size
        counts = blocks_in_pools_with_room(id(bytes(size - 33)), capacity)
        assert 0.6 * capacity < capacity - counts[0] < 0.9 * capacity, (size, counts)
        assert all(count < 9 for count in counts[1:]), (size, counts)  # else new ones
state.release()
del many
many = [dict.fromkeys(range(n)) for n in range(3000)]
print(state._pools_known, arenas._held is not None)
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="pymalloc is CPython's")
def test_a_process_lives_on_and_ends_well():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "True"

"""Python's own allocator, pymalloc: its arenas, aligned, and its pools with room."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from itertools import repeat, starmap
from pathlib import Path
from typing import BinaryIO

from pytest_energy.counting.client_requests import executable
from pytest_energy.errors import CountingUnavailable

# pymalloc of CPython 3.10 and later: pools of 16 KiB, a header of 48 bytes, 32 size classes.
POOL_BYTES, POOL_HEADER_BYTES, SIZES = 16384, 48, range(16, 513, 16)
BYTES_HEADER = sys.getsizeof(b"")
MOST_POOLS = 10_000  # that are looked at
# Of obmalloc's pool_header: how many blocks are in use, the next pool with room, the one before.
POOL_HEADER, NEXT, PREVIOUS = struct.Struct("I12xNN"), 1, 2
OWN_MEMORY = Path("/proc/self/mem")
ARENA_BYTES = 1 << 20
HELD_BYTES = 3 * ARENA_BYTES  # of the interpreter's start, seldom more than one arena is free
_MEDIUM = 1 << 20  # an int of 28 bytes that Python does not keep


class AlignedArenas:
    """Makes Python take its memory from the C library, in aligned pieces.

    To free an object, pymalloc looks up its arena, in 7 instructions more or less by where in the
    arena it lies, unless the arena is aligned to its own size. That was 1.2 % of a short loop.
    Without effect where this architecture or C library is unknown.
    """

    def __init__(self) -> None:
        self._held: object = None
        try:
            library, python = ctypes.CDLL(None), ctypes.pythonapi
            page, code = executable(_free_arena(library))
            allocator = _ArenaAllocator(
                ARENA_BYTES, ctypes.cast(library.memalign, ctypes.c_void_p), code
            )
            python.PyObject_SetArenaAllocator(ctypes.byref(allocator))
            # Python frees its last arenas after its last objects.
            python.Py_IncRef(ctypes.py_object(page))
        except (AttributeError, OSError, CountingUnavailable):
            return
        # Fills the arenas from before, as far as they are free.
        self._held = blocks_of(SIZES[-1], HELD_BYTES // SIZES[-1])


class _ArenaAllocator(ctypes.Structure):
    """PyObjectArenaAllocator: memalign(context, size) allocates."""

    _fields_ = (
        ("context", ctypes.c_size_t),
        ("allocate", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


def _free_arena(library: ctypes.CDLL) -> bytes:
    """Machine code of free(context, address, size): free(address) of an aligned arena, and
    munmap(address, size) of one from before."""
    free, unmap = (
        (ctypes.cast(function, ctypes.c_void_p).value or 0).to_bytes(8, "little")
        for function in (library.free, library.munmap)
    )
    if platform.machine() in ("x86_64", "AMD64"):
        # mov rdi, rsi; mov rsi, rdx; test edi, 0xfffff; jnz 1f; mov rax, free; jmp rax;
        # 1: mov rax, munmap; jmp rax
        start, to, jump = bytes.fromhex("4889f7 4889d6 f7c7ffff0f00 750c"), b"\x48\xb8", b"\xff\xe0"
        return start + to + free + jump + to + unmap + jump
    if platform.machine() in ("aarch64", "arm64"):
        # mov x0, x1; mov x1, x2; tst x0, 0xfffff; b.ne 1f; ldr x16, free; br x16;
        # 1: ldr x16, munmap; br x16; free; munmap
        call = (0x58000090, 0xD61F0200)
        words = (0xAA0103E0, 0xAA0203E1, 0xF2404C1F, 0x54000061, *call, *call)
        return b"".join(word.to_bytes(4, "little") for word in words) + free + unmap
    raise CountingUnavailable(f"no machine code for {platform.machine()}")


def blocks_in_pools_with_room(block: int, capacity: int) -> list[int]:
    """How many blocks each pool with room holds, of this block's size class: its own pool first.

    Empty if its own pool is full, which is in no list then. The headers are read as a file: what is
    read allocates, too, so a pool may be gone by the time that its header is read.
    """
    with OWN_MEMORY.open("rb", buffering=0) as memory:
        start = block - block % POOL_BYTES
        first = _read_header(memory, start)
        if first is None or first[0] == capacity:
            return []
        counts, seen = [first[0]], {start}
        for link in (NEXT, PREVIOUS):  # up to the head of the ring, which is no pool
            at = first[link]
            while at % POOL_BYTES == 0 and at not in seen and len(seen) < MOST_POOLS:
                seen.add(at)
                header = _read_header(memory, at)
                if header is None:
                    break
                counts.append(header[0])
                at = header[link]
    return counts


def _read_header(memory: BinaryIO, address: int) -> tuple[int, ...] | None:
    try:
        memory.seek(address)
        return POOL_HEADER.unpack(memory.read(POOL_HEADER.size))
    except (OSError, ValueError, struct.error):
        return None


def is_pymalloc() -> bool:
    """Whether Python's objects lie in pymalloc's pools, whose headers may be read."""
    try:
        name = ctypes.pythonapi._PyMem_GetCurrentAllocatorName
        OWN_MEMORY.open("rb").close()
    except (AttributeError, OSError):
        return False
    name.restype = ctypes.c_char_p
    return bool(name() == b"pymalloc")


def blocks_of(size: int, count: int) -> list[object]:
    """New objects of this size. No loop of Python's: its counter is an object of 32 bytes."""
    if size == SIZES[0]:
        return list(starmap(object, repeat((), count)))
    if size == SIZES[1]:
        return list(map(_MEDIUM.__add__, repeat(1, count)))
    return list(map(bytes, repeat(size - BYTES_HEADER, count)))

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
import platform
import random
import sys
from collections import deque
from contextlib import suppress
from itertools import repeat, starmap
from operator import itemgetter

from pytest_energy.counting.client_requests import executable
from pytest_energy.errors import CountingUnavailable

# pymalloc of CPython 3.10 and later: pools of 16 KiB, a header of 48 bytes, 32 size classes.
POOL_BYTES, POOL_HEADER_BYTES, SIZES = 16384, 48, range(16, 513, 16)
BYTES_HEADER = sys.getsizeof(b"")
# More holes in one size class, or more pools with holes, are not worth the time.
MOST_HOLES, MOST_POOLS, MOST_FILLS = 100_000, 10_000, 50
# Blocks in a new pool that belong to what runs meanwhile.
MOST_FOREIGN = 8
# The first pool of each size class is occupied to an eighth, and by up to so many blocks more: each
# state has another number of them, so that no loop of fixed length ends where the pool does in all.
# The room is the same to a few blocks: a block of a new pool takes 7 instructions more.
OCCUPIED, MORE_OCCUPIED = 1 / 8, 7
# What the C library may have free: up to where it maps memory instead.
MAPPED_FROM = 128 * 1024
CHUNKS = [*range(24, 1040, 16), *(size << shift for shift in range(7) for size in (1280, 1664))]
MOST_CHUNKS = 20_000
ARENA_BYTES = 1 << 20
HELD_BYTES = 3 * ARENA_BYTES  # of the interpreter's start, seldom more than one arena is free
# glibc's options, with values that keep the end of its memory from moving within a count.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
NEVER_TRIM, TOP_PAD_BYTES = 1 << 30, 4 << 20
# Before a count that end has so much room: these many chunks, the largest that are not mapped.
TOP_CHUNKS, TOP_CHUNK_BYTES, CHUNK_HEADER_BYTES = 32, MAPPED_FROM - 4096, 16
# Old pools that one state fills at most, 16 MiB, and between two looks at the C library. What a
# call allocates beyond them finds the rest.
MOST_OLD_POOLS, POOLS_AT_ONCE = 1024, 8
PART = 250  # blocks in a list that `make_room` goes through without allocating
# From Python 3.13, a type gets no version after 1000 changes, and is slow from there on.
MOST_RENEWALS = 800
# An attribute that every type inherits from object: a look-up gives the type its version.
INHERITED = "__sizeof__"
_MEDIUM = 1 << 20  # an int of 28 bytes that Python does not keep


class MemoryState:
    """Arranges this process's memory. Does what the interpreter and the C library allow."""

    def __init__(self) -> None:
        self._fill: list[list[object]] = []
        self._reserve: list[list[object]] = []
        self._occupied: list[list[object]] = []
        self._types: list[type] = []
        self._pools_known = _is_pymalloc()
        self._renewals = 0
        self._last_chunk = 0
        self._c_library = _CLibrary.find()

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
            # Last: lists of blocks came and went.
            self._make_top(self._c_library)
            self._fill_chunks(self._c_library)

    def release(self) -> None:
        """Free what fills the holes, so that a run of many tests does not grow."""
        self._fill, self._reserve, self._occupied, self._types = [], [], [], []
        if self._c_library is not None:
            self._free_chunks(self._c_library)

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
            blocks = _blocks(size, 1)
            pools = _pools_with_room(id(blocks[0]), capacity)
            holes = sum(capacity - pool.count for pool in pools)
            new = pools[0].count if pools else capacity  # before the next line fills it
            blocks += _blocks(size, min(holes, MOST_HOLES))
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
            blocks = _blocks(SIZES[-1], POOLS_AT_ONCE * capacity)
            new_arena = library.allocated_bytes() - before >= ARENA_BYTES
            self._fill.append(blocks)
            if new_arena:
                return

    def _make_top(self, library: _CLibrary) -> None:
        """Let the end of the memory have room for `TOP_CHUNKS`, in one piece.

        Where the memory goes on elsewhere, the chunks before it are filled: freed, they would be
        the first that malloc takes.
        """
        chunks: list[int] = []
        for _ in range(2 * TOP_CHUNKS):
            chunk = library.malloc(TOP_CHUNK_BYTES)
            if chunks and chunk - chunks[-1] != TOP_CHUNK_BYTES + CHUNK_HEADER_BYTES:
                for each in chunks:
                    self._hold(each)
                chunks = []
            chunks.append(chunk)
            if len(chunks) == TOP_CHUNKS or not chunk:
                break
        for chunk in reversed(chunks):
            library.free(chunk)

    def _fill_chunks(self, library: _CLibrary) -> None:
        for size in (TOP_CHUNK_BYTES, *reversed(CHUNKS)):
            for _ in range(MOST_CHUNKS):
                before = library.top_bytes()
                chunk = library.malloc(size)
                if not chunk:
                    return
                if library.top_bytes() != before:
                    library.free(chunk)
                    break
                self._hold(chunk)

    def _hold(self, chunk: int) -> None:
        """Each chunk holds the address of the last one: a list of them would be a chunk itself."""
        ctypes.c_size_t.from_address(chunk).value = self._last_chunk
        self._last_chunk = chunk

    def _free_chunks(self, library: _CLibrary) -> None:
        while self._last_chunk:
            chunk = self._last_chunk
            self._last_chunk = ctypes.c_size_t.from_address(chunk).value
            library.free(chunk)


class _Pool(ctypes.Structure):
    """pool_header of CPython's obmalloc."""

    _fields_ = [
        ("count", ctypes.c_uint),
        ("free_block", ctypes.c_void_p),
        ("next", ctypes.c_size_t),
        ("previous", ctypes.c_size_t),
        ("numbers", ctypes.c_uint * 4),
    ]


def _pools_with_room(block: int, capacity: int) -> list[_Pool]:
    """The pools with room of this block's size class, which Python links in a ring.

    Empty if the block's own pool is full: it is not in the ring then.
    """
    start = block - block % POOL_BYTES
    if _Pool.from_address(start).count == capacity:
        return []
    pools, at = [], start
    while len(pools) < MOST_POOLS:
        pool = _Pool.from_address(at)
        if at % POOL_BYTES == 0:  # else the head of the ring, which is no pool
            pools.append(pool)
        at = pool.next
        if at == start:
            break
    return pools


def _is_pymalloc() -> bool:
    """Whether Python's objects lie in pymalloc's pools, whose headers may be read."""
    try:
        name = ctypes.pythonapi._PyMem_GetCurrentAllocatorName
    except AttributeError:
        return False
    name.restype = ctypes.c_char_p
    return name() == b"pymalloc"


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
        self._held = _blocks(SIZES[-1], HELD_BYTES // SIZES[-1])


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


class _CLibrary:
    """The functions of glibc that are used here."""

    def __init__(self, library: ctypes.CDLL):
        self.malloc, self.free = library.malloc, library.free
        self.malloc.restype, self.malloc.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
        self.free.restype, self.free.argtypes = None, [ctypes.c_size_t]
        self._information = library.mallinfo2
        self._information.restype = _Information
        # A fixed threshold: glibc raises it when a process frees a larger block.
        library.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, NEVER_TRIM)
        library.mallopt(_M_TOP_PAD, TOP_PAD_BYTES)

    @classmethod
    def find(cls) -> _CLibrary | None:
        """None with a C library that does not describe its memory."""
        try:
            return cls(ctypes.CDLL(None))
        except (AttributeError, OSError, TypeError):
            return None

    def top_bytes(self) -> int:
        """How much is free at the end: it shrinks when no older chunk is free."""
        return int(self._information().keepcost)

    def allocated_bytes(self) -> int:
        """How much is in use, Python's arenas among it."""
        information = self._information()
        return int(information.uordblks + information.hblkhd)


class _Information(ctypes.Structure):
    """struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def settle_collector() -> None:
    """Collect, and leave what is alive out of later collections, which then take no time."""
    gc.collect()
    gc.freeze()


def _blocks(size: int, count: int) -> list[object]:
    """New objects of this size. No loop of Python's: its counter is an object of 32 bytes."""
    if size == SIZES[0]:
        return list(starmap(object, repeat((), count)))
    if size == SIZES[1]:
        return list(map(_MEDIUM.__add__, repeat(1, count)))
    return list(map(bytes, repeat(size - BYTES_HEADER, count)))


def _all_types() -> list[type]:
    found: dict[type, None] = {}
    pending: list[type] = [object]
    while pending:
        each = pending.pop()
        if each not in found:
            found[each] = None
            pending += type.__subclasses__(each)
    return list(found)

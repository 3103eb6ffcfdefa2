"""The C library's free memory, brought into a known state. glibc only."""

from __future__ import annotations

import ctypes

# What the C library may have free: up to where it maps memory instead.
MAPPED_FROM = 128 * 1024
CHUNKS = [*range(24, 1040, 16), *(size << shift for shift in range(7) for size in (1280, 1664))]
MOST_CHUNKS = 20_000
# glibc's options, with values that keep the end of its memory from moving within a count.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
NEVER_TRIM, TOP_PAD_BYTES = 1 << 30, 4 << 20
# Before a count that end has so much room: these many chunks, the largest that are not mapped.
TOP_CHUNKS, TOP_CHUNK_BYTES, CHUNK_HEADER_BYTES = 32, MAPPED_FROM - 4096, 16


class CLibrary:
    """Fills what glibc has free, and looks at what it has given."""

    def __init__(self, library: ctypes.CDLL):
        self._malloc, self._free = library.malloc, library.free
        self._malloc.restype, self._malloc.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
        self._free.restype, self._free.argtypes = None, [ctypes.c_size_t]
        self._last_chunk = 0
        self._information = library.mallinfo2
        self._information.restype = _Information
        # A fixed threshold: glibc raises it when a process frees a larger block.
        library.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, NEVER_TRIM)
        library.mallopt(_M_TOP_PAD, TOP_PAD_BYTES)

    @classmethod
    def find(cls) -> CLibrary | None:
        """None with a C library that does not describe its memory."""
        try:
            return cls(ctypes.CDLL(None))
        except (AttributeError, OSError, TypeError):
            return None

    def fill(self) -> None:
        """Fill every free chunk, and make room at the end."""
        self._make_top()
        self._fill_chunks()

    def _top_bytes(self) -> int:
        """How much is free at the end: it shrinks when no older chunk is free."""
        return int(self._information().keepcost)

    def allocated_bytes(self) -> int:
        """How much is in use, Python's arenas among it."""
        information = self._information()
        return int(information.uordblks + information.hblkhd)

    def _make_top(self) -> None:
        """Let the end of the memory have room for `TOP_CHUNKS`, in one piece.

        Where the memory goes on elsewhere, the chunks before it are filled: freed, they would be
        the first that malloc takes.
        """
        chunks: list[int] = []
        for _ in range(2 * TOP_CHUNKS):
            chunk = self._malloc(TOP_CHUNK_BYTES)
            if chunks and chunk - chunks[-1] != TOP_CHUNK_BYTES + CHUNK_HEADER_BYTES:
                for each in chunks:
                    self._hold(each)
                chunks = []
            chunks.append(chunk)
            if len(chunks) == TOP_CHUNKS or not chunk:
                break
        for chunk in reversed(chunks):
            self._free(chunk)

    def _fill_chunks(self) -> None:
        for size in (TOP_CHUNK_BYTES, *reversed(CHUNKS)):
            for _ in range(MOST_CHUNKS):
                before = self._top_bytes()
                chunk = self._malloc(size)
                if not chunk:
                    return
                if self._top_bytes() != before:
                    self._free(chunk)
                    break
                self._hold(chunk)

    def _hold(self, chunk: int) -> None:
        """Each chunk holds the address of the last one: a list of them would be a chunk itself."""
        ctypes.c_size_t.from_address(chunk).value = self._last_chunk
        self._last_chunk = chunk

    def release(self) -> None:
        """Free what fills it."""
        while self._last_chunk:
            chunk = self._last_chunk
            self._last_chunk = ctypes.c_size_t.from_address(chunk).value
            self._free(chunk)


class _Information(ctypes.Structure):
    """struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]

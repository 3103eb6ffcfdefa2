"""Valgrind's client requests from Python: a few bytes of machine code, called through ctypes.

A client request is an instruction sequence that does nothing on a real CPU, and that Valgrind
recognises. Source: valgrind.h and callgrind.h of Valgrind 3.19.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Mapping

from pytest_energy.errors import CountingUnavailable

RUNNING_ON_VALGRIND = 0x1001
_CALLGRIND = (ord("C") << 24) | (ord("T") << 16)
ZERO_COUNTS = _CALLGRIND + 1
DUMP_COUNTS = _CALLGRIND + 3
"""Takes a label: the address of a C string."""
START_COUNTING = _CALLGRIND + 4
STOP_COUNTING = _CALLGRIND + 5

WORDS = 6  # the request and its five arguments
# request(address of the words, default) -> answer, by the platform's own calling convention.
MACHINE_CODE: Mapping[str, bytes] = {
    # mov rax, rdi; mov rdx, rsi; rol rdi, 3; rol rdi, 13; rol rdi, 61; rol rdi, 51; xchg rbx, rbx;
    # mov rax, rdx; ret
    "x86_64": bytes.fromhex("4889f8 4889f2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3"),
    # mov x4, x0; mov x3, x1; ror x12, x12, 3; 13; 51; 61; orr x10, x10, x10; mov x0, x3; ret
    "aarch64": b"".join(
        word.to_bytes(4, "little")
        for word in (
            *(0xAA0003E4, 0xAA0103E3),
            *(0x93CC0D8C, 0x93CC358C, 0x93CCCD8C, 0x93CCF58C),
            *(0xAA0A014A, 0xAA0303E0, 0xD65F03C0),
        )
    ),
}


class ClientRequests:
    """Sends requests to the Valgrind that runs this process.

    Raises `CountingUnavailable` on an architecture without machine code here, and where the system
    forbids memory that is both written and executed.
    """

    def __init__(self, architecture: str | None = None):
        architecture = architecture or platform.machine()
        code = MACHINE_CODE.get(
            {"AMD64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)
        )
        if code is None:
            raise CountingUnavailable(
                f"counting does not work on {architecture}",
                f"run it on {' or '.join(MACHINE_CODE)}",
            )
        self._page, address = executable(code)
        function = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
        self._call = function(address)
        self._words = (ctypes.c_size_t * WORDS)()
        self._address = ctypes.addressof(self._words)

    def send(self, request: int, argument: int = 0) -> int:
        """Send one request. Returns Valgrind's answer; 0 without Valgrind."""
        self._words[0], self._words[1] = request, argument
        return int(self._call(self._address, 0))

    @property
    def on_valgrind(self) -> bool:
        """Whether Valgrind runs this process."""
        return self.send(RUNNING_ON_VALGRIND) > 0


def executable(code: bytes) -> tuple[mmap.mmap, int]:
    """Memory that holds the machine code, and its address; it lives as long as the first.

    Raises `CountingUnavailable` where the system forbids memory that is written and executed.
    """
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (OSError, AttributeError) as error:  # Windows has no protections to choose
        raise CountingUnavailable(f"the system gives no executable memory: {error}") from None
    page.write(code)
    return page, ctypes.addressof(ctypes.c_char.from_buffer(page))

"""Counts by the CPU itself: ``instructions:u`` of this thread, through perf_event_open.

It slows nothing down, but needs a machine that offers the counter: bare metal and some clouds. It
counts the real machine's instructions, so only runs on the same CPU model can be compared.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable, Mapping

from pytest_energy.counting.callgrind import Dump
from pytest_energy.descriptors import OwnDescriptor
from pytest_energy.errors import CountingUnavailable
from pytest_energy.machine import fingerprint

# (type, config) of linux/perf_event.h.
HARDWARE_INSTRUCTIONS = (0, 1)
SOFTWARE_PAGE_FAULTS = (1, 2)
# The first 64 bytes of perf_event_attr: type, size, config, and the flags at byte 40.
_ATTRIBUTES = struct.Struct("<IIQ24xQ16x")
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 0, 1 << 5, 1 << 6
_RESET, _ENABLE, _DISABLE = 0x2403, 0x2400, 0x2401
_SYSCALL_NUMBERS: Mapping[str, int] = {"x86_64": 298, "aarch64": 241}
_THIS_THREAD, _ANY_CPU, _NO_GROUP, _CLOSE_ON_EXEC = 0, -1, -1, 8
_USE_CALLGRIND = "count with valgrind: apt-get install valgrind"


class CpuCounter:
    """Counts one event of the calling thread in user space.

    Raises `CountingUnavailable` if the kernel or the machine does not offer the event.
    """

    def __init__(self, event: tuple[int, int] = HARDWARE_INSTRUCTIONS, cpu: str = ""):
        # The model is part of the tool: counts of two models are not comparable.
        self.tool = f"cpu {cpu or fingerprint()['cpu']}"
        self.conditions: Mapping[str, str] = {"instruction_set": platform.machine()}
        number = _SYSCALL_NUMBERS.get(platform.machine())
        if number is None or platform.system() != "Linux":
            raise CountingUnavailable(
                f"perf_event_open is unknown on {platform.system()} {platform.machine()}",
                _USE_CALLGRIND,
            )
        kind, config = event
        flags = _DISABLED | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        attributes = ctypes.create_string_buffer(
            _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, config, flags), _ATTRIBUTES.size
        )
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        descriptor = int(
            syscall(number, attributes, _THIS_THREAD, _ANY_CPU, _NO_GROUP, _CLOSE_ON_EXEC)
        )
        if descriptor < 0:
            raise CountingUnavailable(
                f"this machine has no counter of instructions: {_reason(ctypes.get_errno())}",
                _USE_CALLGRIND,
            )
        self._file = OwnDescriptor(descriptor)

    def count(self, call: Callable[[], object]) -> Dump:
        descriptor, control = self._file.number, fcntl.ioctl
        self._file.check()
        control(descriptor, _RESET, 0)
        control(descriptor, _ENABLE, 0)
        try:
            call()
        finally:
            control(descriptor, _DISABLE, 0)
        self._file.check()  # the call may have closed it
        return Dump(int.from_bytes(os.read(descriptor, 8), "little"))

    def close(self) -> None:
        """Close the counter."""
        self._file.close()


def _reason(code: int) -> str:
    if code in (errno.EACCES, errno.EPERM):
        return "not permitted; allow it with: sudo sysctl kernel.perf_event_paranoid=2"
    if code == errno.ENOENT:
        return "the CPU shows none, as in most virtual machines"
    return os.strerror(code)

"""The CPU seconds of this process tree and of the whole machine: whose joules a sensor counted.

A sensor of a package counts the joules of every process. /proc/stat has the CPU seconds of all
processes together, in ticks of 10 ms; the rest is that of others. Reading both takes some 20 us, so
it happens beside a window and never in it.
"""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

from pytest_energy.meters.process_cpu import ProcessTreeClock
from pytest_energy.meters.protocol import Meter

STAT = "/proc/stat"
# proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal, then guests, which are in
# user and nice already. Steal is the time of other machines, and idle and iowait draw no joules.
_BUSY_FIELDS = (0, 1, 2, 5, 6)
# The line of all CPUs is the first, and has ten numbers of at most 20 digits.
_FIRST_LINE_BYTES = 256
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01

# Held here, where code under test that replaces files does not reach them.
_open, _read, _close = partial(os.open), partial(os.read), partial(os.close)
_getpid = partial(os.getpid)


class MachineCpu(NamedTuple):
    """Cumulative CPU seconds: only differences mean anything."""

    own: float
    machine: float


class _Clocks:
    """The clock of one process's tree. A forked child needs its own."""

    def __init__(self) -> None:
        self.pid = _getpid()
        self.tree = ProcessTreeClock()


_clocks: _Clocks | None = None


def open_clocks(meter: Meter) -> None:
    """Open what `cpu_seconds` reads, before code under test can replace what opening needs."""
    if counts_others(meter):
        cpu_seconds()


def counts_others(meter: Meter) -> bool:
    """Whether the joules of this meter include those of other processes on this machine."""
    return meter.provenance != "estimated" and bool(getattr(meter, "counts_other_processes", True))


def cpu_seconds() -> MachineCpu | None:
    """CPU seconds of this process tree, and of all processes; None if the system has no counts."""
    global _clocks
    try:
        if _clocks is None or _clocks.pid != _getpid():
            _clocks = _Clocks()
        machine_s = machine_cpu_s()
        return None if machine_s is None else MachineCpu(_clocks.tree.read()[1], machine_s)
    except (OSError, ValueError, IndexError):
        _clocks = None  # code under test closed its files
        return None


def machine_cpu_s(path: str = STAT) -> float | None:
    """CPU seconds of all processes on all CPUs since boot; None if there is no such file."""
    try:
        descriptor = _open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    try:
        fields = _read(descriptor, _FIRST_LINE_BYTES).split(b"\n", 1)[0].split()
    finally:
        _close(descriptor)
    if not fields or fields[0] != b"cpu":
        return None
    return sum(int(fields[1 + field]) for field in _BUSY_FIELDS) * TICK_S

"""What can count here: valgrind, else the CPU's own counter."""

from __future__ import annotations

from pytest_energy.counting.callgrind import version
from pytest_energy.counting.cpu_counter import CpuCounter
from pytest_energy.errors import CountingUnavailable


def counting_tool() -> tuple[str, bool]:
    """The tool's name, and whether it simulates.

    valgrind comes first, since its counts compare across machines. Raises `CountingUnavailable`.
    """
    try:
        return f"valgrind {version()}", True
    except CountingUnavailable as error:
        try:
            counter = CpuCounter()
        except CountingUnavailable:
            raise error from None
        counter.close()
        return counter.tool, False

"""Warnings about a GPU whose clocks a limit of power or heat lowered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from pytest_energy.model import Block, GpuClocks, Window

# One window in twenty may touch a limit for a moment.
UNUSUAL_WINDOWS = 0.05


def limits_in_windows(windows: Sequence[Window]) -> Iterator[str]:
    """A warning if a limit lowered the clocks in more than `UNUSUAL_WINDOWS` of these."""
    clocks = _clocks(windows)
    if _limited(clocks) > UNUSUAL_WINDOWS:
        yield (
            f"a limit of power or heat lowered the GPU's clock in {_limited(clocks):.0%} of the "
            f"windows ({_mhz(clocks)}): cooler or less loaded, it is faster"
        )


def limits_in_blocks(blocks: Sequence[Block]) -> Iterator[str]:
    """As `limits_in_windows`, with the share and the clock of each side."""
    baseline, candidate = (
        _clocks(
            [
                window
                for block in blocks
                for which, window in zip(block.order, block.windows, strict=True)
                if which == letter
            ]
        )
        for letter in "AB"
    )
    if max(_limited(baseline), _limited(candidate)) > UNUSUAL_WINDOWS:
        yield (
            f"a limit of power or heat lowered the GPU's clock in {_limited(baseline):.0%} of the "
            f"baseline's windows ({_mhz(baseline)}) and in {_limited(candidate):.0%} of the "
            f"candidate's ({_mhz(candidate)}), and turns do not cancel that; lock a clock that "
            "both keep: sudo nvidia-smi --lock-gpu-clocks=MHZ"
        )


def _clocks(windows: Sequence[Window]) -> list[GpuClocks]:
    return [window.gpu for window in windows if window.gpu is not None]


def _limited(clocks: Sequence[GpuClocks]) -> float:
    return sum(each.limited for each in clocks) / len(clocks) if clocks else 0.0


def _mhz(clocks: Sequence[GpuClocks]) -> str:
    return f"{median(each.mhz for each in clocks):.0f} MHz" if clocks else "unknown clock"

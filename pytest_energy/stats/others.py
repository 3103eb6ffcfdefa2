"""Other processes beside the windows of a comparison: their share, and unequally hit blocks.

A sensor counts their joules too. A neighbour of 20 W beside one side's windows moves the ratio of
joules of that block by a third. The rule here knows CPU seconds alone: no joules, no ratio, no
coin. It gives a block and its mirror, ABBA and BAAB, the same answer. So for equal code the ratio
of a block that stays lies above 1 as often as below, as before, and the intervals hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_energy.model import Block, CpuSeconds, Window, add_windows

# Of a side's CPU seconds. A core's share of a package's joules is about its share of the CPU time,
# so blocks below this differ by less than noisy blocks do anyway.
UNEQUAL_SHARE = 0.2
# The kernel counts in ticks of 10 ms, and rounds five sums down: equal sides differ by up to this.
TICKS_S = 0.03


def hit_unequally(block: Block) -> bool:
    """Whether other processes used clearly more CPU time beside one side than beside the other.

    Their CPU seconds per second of the side's windows differ by more than `UNEQUAL_SHARE` of all
    CPU seconds per second, and by more than the kernel's ticks. False if the seconds are unknown.
    """
    sides = [block.side(letter) for letter in "AB"]
    used = [side.cpu for side in sides]
    if any(cpu is None for cpu in used):
        return False
    others = [cpu.others / side.seconds for cpu, side in zip(used, sides, strict=True) if cpu]
    busy = sum(_busy_cpus(side) for side in sides) / len(sides)
    least_s = min(side.seconds for side in sides)
    return abs(others[0] - others[1]) > max(UNEQUAL_SHARE * busy, TICKS_S / least_s)


def share_of_others(blocks: Iterable[Block]) -> float | None:
    """The share of other processes in the CPU seconds of all windows; None if it is unknown."""
    return add_windows(window for block in blocks for window in block.windows).others_share


def shares_by_side(blocks: Sequence[Block]) -> tuple[float, float] | None:
    """As `share_of_others`, beside the baseline and beside the candidate."""
    shares = [add_windows(block.side(letter) for block in blocks).others_share for letter in "AB"]
    baseline, candidate = shares
    return None if baseline is None or candidate is None else (baseline, candidate)


def _busy_cpus(side: Window) -> float:
    """How many CPUs were busy in the mean, with this process or with others."""
    own, others = side.cpu or CpuSeconds(0.0, 0.0)
    return (max(0.0, own) + max(0.0, others)) / side.seconds

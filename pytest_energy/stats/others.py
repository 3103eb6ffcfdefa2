"""Other processes beside the windows of a comparison: their share, and joules without it.

A sensor counts their joules too. A neighbour of 20 W beside one side's windows moves the ratio of
joules of that block by a third. The rules here know CPU seconds and windows of one side, and no
ratio. They give a block and its mirror, ABBA and BAAB, opposite corrections. So for equal code the
ratio of a block lies above 1 as often as below, as before, and the intervals hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from pytest_energy.model import Block, CpuSeconds, Window, add_windows

# Of all CPU seconds per second. Beside code on one CPU, a neighbour on one CPU differs by up to two
# thirds, and can be corrected for. More takes most of a side's joules, so such blocks do not count.
UNEQUAL_SHARE = 0.75
# The kernel counts in ticks of 10 ms, and rounds five sums down: equal sides differ by up to this.
TICKS_S = 0.03
# Between the shares beside the two sides. Ticks alone differ by up to 3 % over 12 blocks.
LARGE_DIFFERENCE = 0.05
# Of the number of blocks with more on one side: 12 of 12 blocks are as many SDs.
FOLLOWING_SDS = 3.3
# One window's two sums in whole ticks: their roundings have an SD of 8 ms.
TICK_ERROR_S = 0.008
# A side that would lose more of its joules than this leaves is left as it was counted.
LEAST_LEFT = 0.1


def hit_unequally(block: Block) -> bool:
    """Whether other processes used far more CPU time beside one side than beside the other.

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


def joules_beside_equal_others(
    blocks: Sequence[Block], total: Callable[[Window], float]
) -> list[tuple[float, float]]:
    """Joules of baseline and candidate in each block, as if others had been as busy beside both.

    Each side loses what others used beyond the block's mean, at the watts of one of their CPUs.
    Those watts come from the blocks before: from the two windows of one side, which run the same
    code, and so from no ratio. What a block gets is then fixed before its coin is tossed, and its
    mirror gets the opposite: the sign of its error stays a fair coin.
    """
    watts = _WattsOfOthers()
    joules = []
    for block in blocks:
        sides = block.side("A"), block.side("B")
        counted = total(sides[0]), total(sides[1])
        if sides[0].cpu is not None and sides[1].cpu is not None:
            mean = sum(_others_s(side) for side in sides) / sum(side.seconds for side in sides)
            equal = [
                each - watts.estimate * (_others_s(side) - mean * side.seconds)
                for each, side in zip(counted, sides, strict=True)
            ]
            watts.learn(block, total)
            if min(equal) > LEAST_LEFT * min(counted):
                joules.append((equal[0], equal[1]))
                continue
        joules.append(counted)
    return joules


class _WattsOfOthers:
    """The watts that one busy CPU of others adds, from windows of equal code: a fit through 0."""

    def __init__(self) -> None:
        self._products = self._squares = 0.0

    @property
    def estimate(self) -> float:
        return max(0.0, self._products / self._squares) if self._squares else 0.0

    def learn(self, block: Block, total: Callable[[Window], float]) -> None:
        """Add the two pairs of windows of a block."""
        for letter in "AB":
            one, other = (
                window
                for which, window in zip(block.order, block.windows, strict=True)
                if which == letter
            )
            cpus = _others_s(one) / one.seconds - _others_s(other) / other.seconds
            watts = total(one) / one.seconds - total(other) / other.seconds
            self._products += cpus * watts
            # Ticks alone make such differences, and would pass for a neighbour's.
            self._squares += cpus**2 + (TICK_ERROR_S / one.seconds) ** 2


def _others_s(window: Window) -> float:
    return window.cpu.others if window.cpu is not None else 0.0


def follow_a_side(blocks: Sequence[Block]) -> bool:
    """Whether others are busier beside one of the sides, again and again: they may work for it.

    A neighbour that knows nothing of the coin looks like this once in a thousand comparisons.
    """
    sides = shares_by_side(blocks)
    if sides is None or abs(sides[0] - sides[1]) < LARGE_DIFFERENCE:
        return False
    differences = [
        _others_s(block.side("A")) / block.side("A").seconds
        - _others_s(block.side("B")) / block.side("B").seconds
        for block in blocks
    ]
    more, less = (sum(sign * each > 0 for each in differences) for sign in (1, -1))
    return abs(more - less) > FOLLOWING_SDS * math.sqrt(len(blocks))


def share_of_others(blocks: Iterable[Block]) -> float | None:
    """The share of other processes in the CPU seconds of all windows; None if it is unknown."""
    return add_windows(window for block in blocks for window in block.windows).others_share


def shares_by_side(blocks: Sequence[Block]) -> tuple[float, float] | None:
    """As `share_of_others`, beside the baseline and beside the candidate."""
    shares = []
    for letter in "AB":
        used = [cpu for block in blocks if (cpu := block.side(letter).cpu) is not None]
        if not used or len(used) < len(blocks):
            return None
        own_s, others_s = (max(0.0, sum(seconds)) for seconds in zip(*used, strict=True))
        shares.append(others_s / (own_s + others_s) if own_s + others_s else 0.0)
    return shares[0], shares[1]


def _busy_cpus(side: Window) -> float:
    """How many CPUs were busy in the mean, with this process or with others."""
    own, others = side.cpu or CpuSeconds(0.0, 0.0)
    return (max(0.0, own) + max(0.0, others)) / side.seconds

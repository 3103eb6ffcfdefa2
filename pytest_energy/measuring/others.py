"""Warnings about other programs: a sensor of a package counts their joules as the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_energy.model import Block, MeterInfo, Window, add_windows
from pytest_energy.stats.gps_up import fewest_blocks, fewest_starts, starts_of
from pytest_energy.stats.others import (
    follow_a_side,
    hit_unequally,
    share_of_others,
    shares_by_side,
)

# A tenth of the CPU time is some 2 W beside a core's 20 W.
LARGE_SHARE = 0.1
# One block in a hundred is hit unequally by the system's own work and by ticks.
UNUSUAL_BLOCKS = 0.05


def beside_windows(meter: MeterInfo, windows: Sequence[Window]) -> Iterator[str]:
    """A warning if other programs used much of the CPU time in these windows."""
    share = add_windows(windows).others_share
    if share is not None and share >= LARGE_SHARE:
        yield f"{_counted(meter, share)}; end them"


def beside_blocks(meter: MeterInfo, blocks: Sequence[Block], alpha: float) -> Iterator[str]:
    """Warnings if other programs used much CPU time, or more of it beside one of the sides."""
    share = share_of_others(blocks)
    if share is None:
        return
    sides = shares_by_side(blocks)
    if sides is not None and follow_a_side(blocks):
        yield (
            f"other programs used {sides[0]:.0%} of the CPU time beside the baseline and "
            f"{sides[1]:.0%} beside the candidate, as if they worked for one of them, so the "
            "joules of the two sides do not compare; start them in the test, whose joules then "
            "include theirs"
        )
        return
    kept = [block for block in blocks if not hit_unequally(block)]
    out, enough = len(blocks) - len(kept), _enough(kept, alpha)
    unusual = out > UNUSUAL_BLOCKS * len(blocks)
    if unusual or share >= LARGE_SHARE:
        left_out = (
            f"; in {out} of {len(blocks)} blocks they used far more beside one side, and these do "
            "not count for joules" + ("" if enough else ", so too few are left for an interval")
        )
        yield (
            f"{_counted(meter, share)}; the ratios are corrected for their turns, the joules are "
            f"not{left_out if unusual else ''}; end them"
        )


def _counted(meter: MeterInfo, share: float) -> str:
    return (
        f"other programs used {share:.0%} of the CPU time, and {meter.name} counts their joules as "
        "yours"
    )


def _enough(blocks: Sequence[Block], alpha: float) -> bool:
    """Whether the blocks give finite intervals."""
    starts = starts_of(blocks)
    return len(starts) >= fewest_starts(alpha) if starts else len(blocks) >= fewest_blocks(alpha)

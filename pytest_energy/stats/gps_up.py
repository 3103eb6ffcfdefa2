"""GPS-UP: time, energy and power of two pieces of code, in three ratios and eight categories.

Source: Abdulsalam, Zong, Gu, Qiu: Using the Greenup, Powerup, and Speedup metrics to evaluate
software energy efficiency, IGSC 2015.

    Speedup = T_baseline / T_candidate      above 1: the candidate is faster
    Greenup = E_baseline / E_candidate      above 1: it takes less energy
    Powerup = P_candidate / P_baseline      above 1: it draws more power

Powerup is Speedup / Greenup in each block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from statistics import median

from pytest_energy.model import Block, Interval, MeterInfo
from pytest_energy.stats.order_statistics import (
    blocks_needed,
    exp_interval,
    median_sequence,
    signed_rank_interval,
    values_needed,
)
from pytest_energy.stats.others import (
    follow_a_side,
    hit_unequally,
    joules_beside_equal_others,
)

# A counter decides nothing if its own error exceeds this share of the tolerance. Its steps are a
# grid for the ratios: rounding to a third moves neither 0 % past a tolerance nor 5 % inside 3 %.
COUNTER_SHARE = 1 / 3

# Blocks are looked at whenever one is added. Starts of processes are dear, so they are looked at
# after four numbers of them, each with a quarter of alpha.
LOOKS_AT_STARTS = 4

# "Same power" in a category: the powerup's interval lies within 1/1.03 and 1.03, the default
# tolerance. A powerup of 1.002 [1.001, 1.003] is the same power, however certain it is.
SAME_POWER = 0.03

CATEGORIES = {
    1: "faster, less power",
    2: "faster, same power",
    3: "faster, more power, greener",
    4: "slower, less power, greener",
    5: "faster, more power, not greener",
    6: "slower, less power, not greener",
    7: "slower, same power",
    8: "slower, more power",
}


@dataclass(frozen=True)
class GpsUp:
    """The three ratios. Greenup and powerup are None if the counter did not move in some block."""

    speedup: Interval
    greenup: Interval | None
    powerup: Interval | None
    counter_error: float = 0.0
    """The counter's own error as a share of one side's joules in a block: see `counter_error`."""

    window_spread: float = 1.0
    """How far apart a side's windows are, as a factor: see `window_spread`."""
    estimated: bool = False
    """An estimate's power follows from CPU time alone, so it supports no category."""
    alarm: GpsUp | None = None
    """The same at the level that an alarm requires; None: at this level."""

    @property
    def category(self) -> int | None:
        return None if self.estimated else category(self.speedup, self.greenup, self.powerup)


def gps_up(
    blocks: Sequence[Block], meter: MeterInfo, alpha: float, alarm_alpha: float | None = None
) -> GpsUp:
    """The middle of the replicates' ratios, with intervals that hold at any stopping time.

    With ``alarm_alpha`` also at that level. A replicate is a block, or the median of the blocks
    that share a replicate's number: one start of processes, see `LOOKS_AT_STARTS`. Ratios are per
    call, so the sides may have different numbers of calls. Greenup and powerup are as if others had
    been as busy beside both sides, and of the blocks that need no large correction; without any
    such block, bounds are unknown.
    """
    log_speedups: list[float] = []
    log_least_speedups: list[float] = []
    log_greenups: list[float] = []
    all_joules = joules_beside_equal_others(
        blocks, lambda window: meter.total_joules(window.joules)
    )
    for block, joules in zip(blocks, all_joules, strict=True):
        baseline, candidate = block.side("A"), block.side("B")
        log_calls = math.log(candidate.calls / baseline.calls)
        log_speedups.append(math.log(baseline.seconds / candidate.seconds) + log_calls)
        log_least_speedups.append(
            math.log(block.least_seconds_per_call("A") / block.least_seconds_per_call("B"))
        )
        if min(joules) > 0:
            log_greenups.append(math.log(joules[0] / joules[1]) + log_calls)

    # Joules of other processes spoil a block that they hit unequally; time has its smaller window.
    # If they follow one side, they may work for it, and no correction is right.
    follow = follow_a_side(blocks)
    equal = [not follow and not hit_unequally(block) for block in blocks]
    moved = len(log_greenups) == len(log_speedups)

    def joules_sequence(log_ratios: Sequence[float], alpha: float) -> Interval:
        if not any(equal):
            return Interval(math.exp(median(log_ratios)), 0.0, math.inf)
        kept = list(compress(blocks, equal))
        return exp_interval(_middle(kept, list(compress(log_ratios, equal)), alpha))

    def ratios(alpha: float) -> tuple[Interval, Interval | None, Interval | None]:
        # A preempted window spoils the sum of a side's two windows, and not the smaller one, which
        # in turn needs 1.4 times the blocks on a quiet machine. Both at half of alpha lose 5 % to
        # the better one (docs/gate.md). The smaller window's joules would be those of the coarser
        # steps.
        speedups = [_middle(blocks, logs, alpha / 2) for logs in (log_speedups, log_least_speedups)]
        speedup = exp_interval(_both_hold(*speedups))
        if not moved:
            return speedup, None, None
        log_powerups = [s - g for s, g in zip(log_speedups, log_greenups, strict=True)]
        return speedup, joules_sequence(log_greenups, alpha), joules_sequence(log_powerups, alpha)

    about = (
        counter_error(blocks, meter) if moved else math.inf,
        window_spread(blocks),
        meter.provenance == "estimated",
    )
    alarm = GpsUp(*ratios(alarm_alpha), *about) if alarm_alpha is not None else None
    return GpsUp(*ratios(alpha), *about, alarm)


def fewest_blocks(alpha: float) -> int:
    """The fewest blocks for a finite interval of every ratio: 12 at 1 %."""
    return blocks_needed(alpha / 2)


def fewest_starts(alpha: float) -> int:
    """The fewest starts of processes for a finite interval of every ratio: 11 at 1 %."""
    return values_needed(alpha / 2 / LOOKS_AT_STARTS)


def starts_of(blocks: Sequence[Block]) -> set[int]:
    """The numbers of the starts of processes that the blocks are of; none within one process."""
    return {block.replicate for block in blocks if block.replicate is not None}


def _middle(blocks: Sequence[Block], values: Sequence[float], alpha: float) -> Interval:
    """The middle of the blocks' values or of the starts', however often each is looked at."""
    if not starts_of(blocks):
        return median_sequence(values, alpha)
    return signed_rank_interval(_by_start(blocks, values), alpha / LOOKS_AT_STARTS)


def _both_hold(one: Interval, other: Interval) -> Interval:
    """The values in both intervals, or in any and between them if the two are apart.

    They are apart if the statistics differ, as for code with a slow path in every third window.
    """
    narrow = min(one, other, key=lambda each: each.high - each.low)
    low, high = max(one.low, other.low), min(one.high, other.high)
    if low > high:
        return Interval(narrow.value, min(one.low, other.low), max(one.high, other.high))
    return Interval(min(max(narrow.value, low), high), low, high)


def _by_start(blocks: Sequence[Block], values: Sequence[float]) -> list[float]:
    """One value per start: the median of its blocks' values."""
    groups: dict[int | None, list[float]] = {}
    for block, value in zip(blocks, values, strict=True):
        groups.setdefault(block.replicate, []).append(value)
    return [median(group) for group in groups.values()]


def counter_error(blocks: Sequence[Block], meter: MeterInfo) -> float:
    """The counter's own error as a share of one side's joules in a block; median over the blocks.

    More blocks do not reduce it: joules come in steps of this size, and the median of such ratios
    still lies on a step. Longer windows do.
    """
    return median(
        [max(meter.quantisation(block.side(letter)) for letter in "AB") for block in blocks]
    )


def window_spread(blocks: Sequence[Block]) -> float:
    """The 90th percentile of a side's seconds per call over its 10th; the greater of both sides.

    Single preempted windows do not count: one in ten may be of any length.
    """
    return max(
        _tenths_apart(
            [
                window.seconds_per_call
                for block in blocks
                for which, window in zip(block.order, block.windows, strict=True)
                if which == letter
            ]
        )
        for letter in "AB"
    )


def _tenths_apart(values: Sequence[float]) -> float:
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return ordered[-1 - tenth] / ordered[tenth]


def category(speedup: Interval, greenup: Interval | None, powerup: Interval | None) -> int | None:
    """The category that the intervals support, or None.

    Time and energy need their whole interval on one side of 1. Power is more, less or the same if
    its whole interval lies above, below or within `SAME_POWER`.

    >>> from pytest_energy.model import Interval
    >>> category(Interval(1.5, 1.4, 1.6), Interval(1.5, 1.4, 1.6), Interval(1.0, 0.98, 1.02))
    2
    """
    if (
        greenup is None
        or powerup is None
        or not all(math.isfinite(ratio.high) for ratio in (speedup, greenup, powerup))
    ):
        return None
    speed, green, power = _side(speedup), _side(greenup), _side(powerup, SAME_POWER)
    if power == 0 and not 1 / (1 + SAME_POWER) <= powerup.low <= powerup.high <= 1 + SAME_POWER:
        return None
    return {
        (+1, +1, -1): 1,
        (+1, +1, 0): 2,
        (+1, +1, +1): 3,
        (-1, +1, -1): 4,
        (+1, -1, +1): 5,
        (-1, -1, -1): 6,
        (-1, -1, 0): 7,
        (-1, -1, +1): 8,
    }.get((speed, green, power))


def _side(ratio: Interval, tolerance: float = 0.0) -> int:
    """+1 if the whole interval lies above 1 + tolerance, -1 if below the inverse, else 0."""
    return (ratio.low > 1 + tolerance) - (ratio.high < 1 / (1 + tolerance))

"""Starts of processes: the blocks of each, which count as one value together, and how many."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from pytest_energy.clock import now_s
from pytest_energy.commits.worker_process import Replicate
from pytest_energy.measuring.paired import Decided, match_calls, ratios_to_judge
from pytest_energy.measuring.single import SHORTEST_WINDOW_S
from pytest_energy.model import ORDERS, Block, MeterInfo
from pytest_energy.plan import Plan, Step
from pytest_energy.stats.gps_up import LOOKS_AT_STARTS, fewest_starts

# The windows of a start take 0.03 s and more, until the median of the blocks is known to a quarter
# of the tolerance, and 0.15 s at most: the most starts then fit into the default time.
SHORTEST_S, LONGEST_S = 0.03, 0.15
# At 3 % this is 0.75 %: less than what memory layouts add, so more time would narrow little.
KNOWN_SHARE = 1 / 4
# The standard error of a median, in median absolute deviations over the root of the number.
ERROR_OF_MEDIAN = 1.4826 * 1.2533
# The numbers of starts after which to look, in multiples of the fewest: the early looks of those
# that `unchanged` needs, the late ones of those that an alarm needs.
EARLY_LOOKS, LATE_LOOKS = (1, 1.4), (2, 3)
assert len(EARLY_LOOKS + LATE_LOOKS) == LOOKS_AT_STARTS


def looks(alpha: float, alarm_alpha: float) -> list[int]:
    """After how many starts to look at the intervals.

    >>> looks(0.01, 0.01), looks(0.01, 0.001)
    ([11, 16, 22, 33], [11, 16, 28, 42])
    """
    return [
        math.ceil(share * fewest_starts(level))
        for level, shares in ((alpha, EARLY_LOOKS), (alarm_alpha, LATE_LOOKS))
        for share in shares
    ]


def shortest_time_s(alpha: float) -> float:
    """The time in which the fewest starts for a verdict fit: 1.65 s at 1 %, if all take long."""
    return fewest_starts(alpha) * LONGEST_S


@dataclass
class WindowSizes:
    """How each start takes its windows, which the first one finds out, and how they were."""

    calls: dict[str, int] = field(default_factory=dict)
    """Calls per window of each side; empty at first."""
    seconds_per_block: float = 0.0
    """Of an undisturbed block; 0: unknown."""
    warms_each: bool = False
    """Whether as many calls as a window has come before it, unmeasured."""
    waiting_shares: list[float] = field(default_factory=list)
    """Of each side in each start: see `Comparison.waiting_share`."""

    @property
    def waiting_share(self) -> float:
        """As it is in half of the starts."""
        return median(self.waiting_shares) if self.waiting_shares else 0.0

    def find(self, sides: Mapping[str, Replicate]) -> None:
        """Ask each side how many calls it needs. Raises `ReplicateFailed`."""
        found = {letter: side.calls_per_window() for letter, side in sides.items()}
        needed = {letter: each.calls for letter, each in found.items()}
        seconds = {letter: each.seconds_per_call for letter, each in found.items()}
        self.calls = match_calls(needed, seconds)
        window_s = {letter: self.calls[letter] * seconds[letter] for letter in sides}
        # Another process ran before each window and left cold caches. In a longer one it does not
        # matter. All sides or none: it is an advantage.
        self.warms_each = max(window_s.values()) < SHORTEST_WINDOW_S
        self.seconds_per_block = 2 * sum(window_s.values()) * (1 + self.warms_each)


def blocks_of_start(
    sides: Mapping[str, Replicate],
    first: str,
    number: int,
    meter: MeterInfo,
    sizes: WindowSizes,
    plan: Plan,
    coin: random.Random,
) -> list[Block]:
    """ABBA and BAAB blocks of two sides that have started, the order ``first`` before others.

    Raises `ReplicateFailed`.
    """
    if not sizes.calls:
        plan.on_step(Step("calibration"))
        sizes.find(sides)
    plan.on_step(Step("blocks"))

    def block(order: str) -> Block:
        windows = tuple(
            sides[letter].window(sizes.calls[letter], meter, plan, sizes.warms_each)
            for letter in order
        )
        return Block(order, windows, number)

    blocks = [block(first)]
    seconds_per_block = sizes.seconds_per_block or sum(w.seconds for w in blocks[0].windows)
    # Each order as often as the other: the second of two windows in a row has warm caches and is
    # up to 8 % faster.
    pairs = int(LONGEST_S / seconds_per_block / len(ORDERS))
    if pairs:
        blocks.append(block(_other(first)))
    began_s = now_s()  # not before: a neighbour in the first block would leave no time for others
    for _ in range(pairs - 1):
        blocks += [block(order) for order in coin.sample(ORDERS, len(ORDERS))]
        spent_s = now_s() - began_s
        if spent_s > LONGEST_S or (spent_s > SHORTEST_S and is_known(blocks, plan.tolerance)):
            break
    sizes.waiting_shares += [side.waiting_share() for side in sides.values()]
    return blocks


def is_known(blocks: Sequence[Block], tolerance: float) -> bool:
    """Whether the median ratio of time of a start is known well enough.

    By how far the blocks differ from each other, which is the same whichever side is slower: the
    start then still errs up as often as down.
    """
    logs = [
        math.log(block.least_seconds_per_call("A") / block.least_seconds_per_call("B"))
        for block in blocks
    ]
    middle = median(logs)
    deviation = median(abs(each - middle) for each in logs)
    return ERROR_OF_MEDIAN * deviation <= KNOWN_SHARE * tolerance * math.sqrt(len(logs))


def _other(order: str) -> str:
    return ORDERS[1 - ORDERS.index(order)]


def take_starts(
    take: Callable[[int], list[Block]], meter: MeterInfo, plan: Plan, decided: Decided
) -> list[Block]:
    """The blocks of as many starts as a verdict needs, looked at after each number of `looks`.

    ``take`` starts processes for the start with this number. ``plan.max_time_s`` is of the windows.
    It ends the comparison at a look, after as many starts as an alarm needs.
    """
    blocks: list[Block] = []
    number = 0
    for look in looks(plan.alpha, plan.least_alpha):
        while number < look:
            plan.on_step(Step("starts"))
            blocks += take(number)
            number += 1
        spent_s = sum(window.seconds for block in blocks for window in block.windows)
        late = spent_s >= plan.max_time_s and number >= fewest_starts(plan.least_alpha)
        if late or decided(ratios_to_judge(blocks, meter, plan)):
            break
    return blocks

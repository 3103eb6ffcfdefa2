"""What one start of the processes gives: some blocks, which count as one value together."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from pytest_energy.commits.worker_process import Replicate
from pytest_energy.measuring.paired import Decided, match_calls
from pytest_energy.model import ORDERS, Block, MeterInfo
from pytest_energy.plan import Plan, Step
from pytest_energy.stats.gps_up import fewest_blocks, gps_up

# Two forks and their warm-up take about 0.1 s. With 0.2 s of windows each, 16 starts fit into 5 s;
# a verdict needs 12.
REPLICATE_S, START_S = 0.2, 0.1
# Fresh processes that a comparison may take, in multiples of the fewest for a verdict.
MOST_FRESH = 2


def shortest_time_s(alpha: float) -> float:
    """The time in which the fewest starts for a verdict fit: 3.6 s at 1 %."""
    return fewest_blocks(alpha) * (REPLICATE_S + START_S)


def blocks_of_start(
    sides: Mapping[str, Replicate],
    first: str,
    number: int,
    meter: MeterInfo,
    calls: dict[str, int],
    plan: Plan,
    coin: random.Random,
) -> list[Block]:
    """ABBA and BAAB blocks of two sides that have started, the order ``first`` before others.

    Fills ``calls``, the calls per window, if it is empty. Raises `ReplicateFailed`.
    """
    if not calls:
        plan.on_step(Step("calibration"))
        found = {letter: side.calls_per_window() for letter, side in sides.items()}
        needed = {letter: each.calls for letter, each in found.items()}
        seconds = {letter: each.seconds_per_call for letter, each in found.items()}
        calls.update(match_calls(needed, seconds))
    plan.on_step(Step("blocks"))

    def block(order: str) -> Block:
        windows = tuple(sides[letter].window(calls[letter], meter, plan) for letter in order)
        return Block(order, windows, number)

    blocks = [block(first)]
    seconds_per_block = sum(window.seconds for window in blocks[0].windows)
    # Each order as often as the other: the second of two windows in a row has warm caches and is
    # up to 8 % faster.
    orders = list(ORDERS) * int(REPLICATE_S / seconds_per_block / 2)
    if orders:
        orders.remove(first)
        coin.shuffle(orders)
    return blocks + [block(order) for order in orders]


def fresh_blocks(
    take: Callable[[int], list[Block]], meter: MeterInfo, plan: Plan, decided: Decided
) -> list[Block]:
    """The blocks of as many fresh processes as a verdict needs, and of some more if that helps.

    ``take`` starts the processes with this number.
    """
    blocks: list[Block] = []
    fewest = fewest_blocks(plan.least_alpha)
    for number in range(fewest * MOST_FRESH):
        plan.on_step(Step("starts"))
        blocks += take(number)
        enough = number + 1 >= fewest
        if enough and decided(gps_up(blocks, meter, plan.alpha, plan.alarm_alpha)):
            break
    return blocks

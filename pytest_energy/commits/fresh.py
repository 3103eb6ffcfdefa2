"""``energy.versus`` across fresh processes: ``--energy-fresh-processes``.

Where memory lies changes the time of equal code, and one process has one layout (docs/gate.md).
Each process here has a random one. It forks, and the fork takes blocks of both sides. The median of
the blocks counts as one value.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.layout import SEEDS, Layout
from pytest_energy.commits.starts import WindowSizes, blocks_of_start, fresh_blocks
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.commits.worker_process import ReplicateFailed, WorkerProcess
from pytest_energy.measuring.paired import Decided, comparison_of
from pytest_energy.model import ORDERS, Block, Comparison, MeterInfo
from pytest_energy.plan import Plan


class FreshProcesses:
    """Starts processes of this tree, and compares the two sides of a test in each."""

    def __init__(self, side: Side, janitor: Janitor):
        self._side, self._janitor = side, janitor
        self._coin = random.Random()

    def compare(
        self, test: str, baseline_name: str, meter: MeterInfo, plan: Plan, decided: Decided
    ) -> Comparison:
        """Compare in 12 processes at an alpha of 1 %, or up to 24 if that decides.

        ``plan.max_time_s`` ends nothing here. Raises `ReplicateFailed`.
        """
        sizes = WindowSizes()
        take = partial(self._blocks, test, meter=meter, sizes=sizes, plan=plan)
        try:
            blocks = fresh_blocks(take, meter, plan, decided)
        except ReplicateFailed as error:
            raise ReplicateFailed(
                f"in a fresh process: {error}; leave --energy-fresh-processes out to compare in one"
            ) from None
        comparison = comparison_of(baseline_name, blocks, meter, plan.alpha)
        return replace(comparison, waiting_share=sizes.waiting_share)

    def _blocks(
        self, test: str, number: int, meter: MeterInfo, sizes: WindowSizes, plan: Plan
    ) -> list[Block]:
        layout = Layout.draw(self._coin.randrange(SEEDS), self._coin)
        worker = WorkerProcess(self._side.of_test(test), layout, self._janitor)
        try:
            worker.wait_until_collected_again()
            with worker.replicate(test, sides="AB") as fork:
                sides = {letter: replace(fork, side=letter) for letter in "AB"}
                first = self._coin.choice(ORDERS)
                return blocks_of_start(sides, first, number, meter, sizes, plan, self._coin)
        finally:
            worker.close()


@contextmanager
def fresh_processes(side: Side) -> Iterator[FreshProcesses]:
    """Ready to start; what is left of the processes ends with the context."""
    with Janitor() as janitor:
        yield FreshProcesses(side, janitor)

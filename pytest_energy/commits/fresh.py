"""``energy.versus`` across fresh processes: ``--energy-fresh-processes``.

Where memory lies changes the time of equal code, and one process has one layout (docs/gate.md).
Each process here has a random one. It forks, and the fork takes blocks of both sides. The median of
the blocks counts as one value.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.kept_workers import KeptWorkers
from pytest_energy.commits.starts import WindowSizes, blocks_of_start, take_starts
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.commits.worker_process import ReplicateFailed
from pytest_energy.measuring.paired import Decided, comparison_of
from pytest_energy.model import ORDERS, Block, Comparison, MeterInfo
from pytest_energy.plan import Plan


class FreshProcesses:
    """Starts processes of this tree, and compares the two sides of a test in each."""

    def __init__(self, side: Side, janitor: Janitor):
        self._coin = random.Random()
        self._workers = KeptWorkers({"B": side}, janitor, self._coin)

    def compare(
        self, test: str, baseline_name: str, meter: MeterInfo, plan: Plan, decided: Decided
    ) -> Comparison:
        """Compare in 11 processes at an alpha of 1 %, or up to 33 if that decides.

        Raises `ReplicateFailed`.
        """
        sizes = WindowSizes()
        take = partial(self._blocks, test, meter=meter, sizes=sizes, plan=plan)
        try:
            blocks = take_starts(take, meter, plan, decided)
        except ReplicateFailed as error:
            raise ReplicateFailed(
                f"in a fresh process: {error}; leave --energy-fresh-processes out to compare in one"
            ) from None
        comparison = comparison_of(baseline_name, blocks, meter, plan.alpha)
        return replace(comparison, waiting_share=sizes.waiting_share)

    def _blocks(
        self, test: str, number: int, meter: MeterInfo, sizes: WindowSizes, plan: Plan
    ) -> list[Block]:
        with (
            self._workers.of(test, number) as workers,
            workers["B"].replicate(test, sides="AB") as fork,
        ):
            sides = {letter: replace(fork, side=letter) for letter in "AB"}
            first = self._coin.choice(ORDERS)
            return blocks_of_start(sides, first, number, meter, sizes, plan, self._coin)

    def close(self) -> None:
        """End the processes."""
        self._workers.close()


@contextmanager
def fresh_processes(side: Side) -> Iterator[FreshProcesses]:
    """Ready to start; the processes end with the context."""
    with Janitor() as janitor, closing(FreshProcesses(side, janitor)) as processes:
        yield processes

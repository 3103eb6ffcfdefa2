"""This tree against another commit, live: ``--energy-against REV``.

Each side runs in worker processes of its own (worker.py), the commit's side in a checkout
(checkout.py). A replicate forks one worker of each side. The two forks take short windows in turns,
in ABBA or BAAB blocks, and the median of the blocks counts as one value. Two pairs of workers take
turns, so that the memory layout of one process does not decide.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.git import find_repo
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.kept_workers import KeptWorkers, Workers, start_workers
from pytest_energy.commits.loaded_files import LoadedFilesCheck
from pytest_energy.commits.names import Names, pair_names
from pytest_energy.commits.starts import WindowSizes, blocks_of_start, fresh_blocks, shortest_time_s
from pytest_energy.commits.version_files import copy_missing, version_files
from pytest_energy.commits.worker_arguments import (
    CommandLine,
    Side,
    commit_side,
    this_tree_side,
)
from pytest_energy.commits.worker_process import Replicate, ReplicateFailed
from pytest_energy.measuring.paired import Decided, comparison_of, take_blocks
from pytest_energy.model import ORDERS, Block, Comparison, Interval, MeterInfo
from pytest_energy.plan import Plan, Step
from pytest_energy.stats.gps_up import GpsUp, fewest_blocks

PAIRS = 2
# Memory layouts change equal code by up to 13 % (docs/gate.md). A larger factor is the code's.
LARGEST_OF_LAYOUT = 1.5
LONGEST_NAME = 255  # of most file systems


class Against:
    """Pairs of workers, and the comparison of one test through them."""

    def __init__(
        self,
        label: str,
        sides: Mapping[str, Side],
        janitor: Janitor,
        loaded_files: LoadedFilesCheck | None = None,
    ):
        self.label = label
        self.names = Names(frozenset(), (), (), ())
        self.copied: tuple[str, ...] = ()
        """Generated files that the other commit's checkout has from this tree."""
        self._sides, self._janitor = sides, janitor
        self._loaded_files = loaded_files
        self.differed_at_first: set[str] = set()
        """Tests that differed by more than the tolerance at first, and were measured again."""
        self._coin = random.Random()
        self._pairs: Iterator[Workers] = iter(())
        self._fresh = KeptWorkers(sides, janitor, self._coin)

    @property
    def revision(self) -> str:
        """The other commit as the user named it."""
        return self.label.rpartition(" (")[0]

    @contextmanager
    def started(self) -> Iterator[Against]:
        """Start the first workers, all at once: nothing is measured yet. Raises `OptionError`."""
        with ExitStack() as stack:
            pairs = [
                start_workers(self._sides, self._janitor, self._coin, stack) for _ in range(PAIRS)
            ]
            stack.callback(self._fresh.close)
            for pair in pairs:
                for worker in pair.values():
                    worker.wait_until_collected()
            self._pairs = cycle(pairs)
            self.names = pair_names(pairs[0]["A"].collected, pairs[0]["B"].collected)
            yield self

    def compare(self, name: str, meter: MeterInfo, plan: Plan, decided: Decided) -> Comparison:
        """Compare one test until ``decided`` or the time is up. Raises `ReplicateFailed`.

        A difference beyond the tolerance may come from the memory layouts of a few processes. The
        test is then measured again in fresh processes, and only those blocks count. If another test
        has started enough of them, they are the first.
        """
        sizes = WindowSizes()
        if self._fresh.kept_for(name) < fewest_blocks(plan.alpha):
            first = self._in_first_processes(name, meter, sizes, plan, decided)
            if not may_be_layout(first, plan.tolerance):
                return first
            self.differed_at_first.add(name)
        fresh = fresh_blocks(
            lambda number: self._fresh_replicate(name, number, meter, sizes, plan),
            meter,
            plan,
            decided,
        )
        return self._comparison(fresh, meter, plan, sizes)

    def _in_first_processes(
        self, name: str, meter: MeterInfo, sizes: WindowSizes, plan: Plan, decided: Decided
    ) -> Comparison:
        """The comparison by the pairs that all tests share."""
        numbers = count()
        blocks = take_blocks(
            lambda: self._replicate(next(self._pairs), name, next(numbers), meter, sizes, plan),
            meter,
            replace(plan, max_time_s=max(plan.max_time_s, shortest_time_s(plan.alpha))),
            lambda ratios: decided(ratios) or may_be_layout(ratios, plan.tolerance),
        )
        return self._comparison(blocks, meter, plan, sizes)

    def _comparison(
        self, blocks: Sequence[Block], meter: MeterInfo, plan: Plan, sizes: WindowSizes
    ) -> Comparison:
        comparison = comparison_of(self.label, blocks, meter, plan.alpha)
        return replace(comparison, waiting_share=sizes.waiting_share)

    def _fresh_replicate(
        self, name: str, number: int, meter: MeterInfo, sizes: WindowSizes, plan: Plan
    ) -> list[Block]:
        """The blocks of a fork of each side of the fresh pair with this number."""
        with self._fresh.of(name, number) as pair:
            return self._replicate(pair, name, number, meter, sizes, plan)

    def _replicate(
        self,
        pair: Workers,
        name: str,
        number: int,
        meter: MeterInfo,
        sizes: WindowSizes,
        plan: Plan,
    ) -> list[Block]:
        """The blocks of one fork of each side of a pair."""
        first = self._coin.choice(ORDERS)
        plan.on_step(Step("starts"))
        with ExitStack() as stack:
            for letter in first[:2]:
                stack.enter_context(pair[letter].forked(name, report_files=not sizes.calls))
            # Both warm up at the same time.
            forks = {letter: pair[letter].when_ready() for letter in first[:2]}
            self._check_files(forks)
            _pin_to_one_cpu(list(forks.values()))
            return blocks_of_start(forks, first, number, meter, sizes, plan, self._coin)

    def _check_files(self, forks: Mapping[str, Replicate]) -> None:
        """Raises `ReplicateFailed` if the sides loaded files that cannot be compared."""
        if self._loaded_files is None:
            return
        reason = self._loaded_files.difference(forks["A"].loaded_files, forks["B"].loaded_files)
        if reason is not None:
            raise ReplicateFailed(reason)


def may_be_layout(comparison: Comparison | GpsUp, tolerance: float) -> bool:
    """Whether a ratio is beyond the tolerance, and not beyond what memory layouts explain."""
    ratios = [ratio for ratio in (comparison.speedup, comparison.greenup) if ratio is not None]
    return any(_beyond(ratio, 1 + tolerance) for ratio in ratios) and not all(
        _beyond(ratio, LARGEST_OF_LAYOUT) for ratio in ratios
    )


def _beyond(ratio: Interval, factor: float) -> bool:
    """Whether the whole interval lies beyond a factor, below or above."""
    return ratio.high < 1 / factor or ratio.low > factor


def _pin_to_one_cpu(forks: Sequence[Replicate]) -> None:
    """Run all sides on one CPU, if each is the work of one thread.

    On two CPUs, the side with the busier neighbour is slower throughout: the ratios of 24 starts of
    the same code had an SD of 25 %, and 2 % on one CPU. The system picked that CPU as an idle one.
    """
    cpus = [fork.cpu for fork in forks if fork.cpu is not None]
    if len(cpus) == len(forks):
        for fork in forks:
            fork.pin_to_cpu(cpus[-1])


@contextmanager
def start(
    revision: str, folder: Path, command_line: CommandLine, python: str | None, root: Path
) -> Iterator[Against]:
    """Check ``revision`` out and start the workers of both sides. Raises `OptionError`.

    ``root`` is pytest's rootdir.
    """
    repo = find_repo(folder)
    with Janitor() as janitor:
        checkout = check_out(repo, revision, folder_as_long(janitor.folder, repo))
        generated = version_files(repo)
        copied = copy_missing(generated, repo, checkout.path)
        label = f"{revision} ({checkout.commit[:12]})"
        sides = {
            "A": commit_side(checkout, label, folder, command_line, python, root),
            "B": this_tree_side(repo, folder, command_line, root),
        }
        check = LoadedFilesCheck(repo, checkout.path, label, python is not None, generated)
        with Against(label, sides, janitor, check).started() as against:
            against.copied = copied
            yield against


def folder_as_long(parent: Path, repo: Path) -> Path:
    """A folder in ``parent`` with a path as long as that of ``repo``, if possible.

    The length of paths changes what a process allocates.
    """
    missing = len(os.fsencode(repo)) - len(os.fsencode(parent)) - 1
    return parent / ("A" * min(max(missing, 1), LONGEST_NAME))

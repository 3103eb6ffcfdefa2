"""This tree against another commit, live: ``--energy-against REV``.

Each side runs in worker processes of its own (worker.py), the commit's side in a checkout
(checkout.py). A start forks one worker of each side. The two forks take short windows in turns, in
ABBA or BAAB blocks, and the median of the blocks counts as one value. Each start has a pair of
workers of its own, so that the memory layout of one process does not decide.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_energy.clock import now_s
from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.git import find_repo
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.kept_workers import KeptWorkers, Workers, start_workers
from pytest_energy.commits.loaded_files import LoadedFilesCheck
from pytest_energy.commits.names import Names, pair_names
from pytest_energy.commits.starts import WindowSizes, blocks_of_start, take_starts
from pytest_energy.commits.version_files import copy_missing, version_files
from pytest_energy.commits.worker_arguments import (
    CommandLine,
    Side,
    commit_side,
    this_tree_side,
)
from pytest_energy.commits.worker_process import Replicate, ReplicateFailed
from pytest_energy.measuring.paired import Decided, comparison_of
from pytest_energy.model import ORDERS, Block, Comparison, Interval, MeterInfo
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import GpsUp, fewest_starts

# These start with the run and collect all tests.
FIRST_PAIRS = 2
# A file's tests share its pairs, so these may take this long to start: a second each for plain
# Python or numpy, four for torch. But a test is set up in each, and a suite has many tests.
LONGEST_STARTS_S, LONGEST_SET_UPS_S = 60.0, 10.0
# Memory layouts change equal code by up to 13 % (docs/gate.md). A larger factor is the code's.
LARGEST_OF_LAYOUT = 1.5
LONGEST_NAME = 255  # of most file systems


@dataclass
class Starts:
    """The starts of one test's comparison."""

    name: str
    meter: MeterInfo
    plan: Plan
    may_take_turns: bool = True
    """Whether a few pairs may do where more take long to start."""
    sizes: WindowSizes = field(default_factory=WindowSizes)
    pairs: int | None = None
    """How many pairs take turns; None: each start has its own."""

    @property
    def take_turns(self) -> bool:
        return self.pairs is not None


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
        self._first: list[Workers] = []
        self._fresh = KeptWorkers(sides, janitor, self._coin)

    @property
    def revision(self) -> str:
        """The other commit as the user named it."""
        return self.label.rpartition(" (")[0]

    @contextmanager
    def started(self) -> Iterator[Against]:
        """Start the first workers, all at once: nothing is measured yet. Raises `OptionError`."""
        with ExitStack() as stack:
            self._first = [
                start_workers(self._sides, self._janitor, self._coin, stack)
                for _ in range(FIRST_PAIRS)
            ]
            stack.callback(self._fresh.close)
            for pair in self._first:
                for worker in pair.values():
                    worker.wait_until_collected()
            first = self._first[0]
            self.names = pair_names(first["A"].collected, first["B"].collected)
            yield self

    def compare(self, name: str, meter: MeterInfo, plan: Plan, decided: Decided) -> Comparison:
        """Compare one test until ``decided`` or the time is up. Raises `ReplicateFailed`.

        Where processes start soon, each start has a pair of its own. Otherwise a few pairs take
        turns. Then a difference beyond the tolerance may come from their memory layouts, so it is
        measured again with a pair for each start, and only those blocks count.
        """
        starts = Starts(name, meter, plan)
        comparison = self._comparison(starts, decided)
        if starts.take_turns and may_be_layout(comparison, plan.tolerance):
            self.differed_at_first.add(name)
            comparison = self._comparison(Starts(name, meter, plan, False), decided)
        return comparison

    def _comparison(self, starts: Starts, decided: Decided) -> Comparison:
        meter, plan = starts.meter, starts.plan

        def enough(ratios: GpsUp) -> bool:
            in_doubt = starts.take_turns and may_be_layout(ratios, plan.tolerance)
            return in_doubt or decided(ratios)

        blocks = take_starts(lambda number: self._blocks(starts, number), meter, plan, enough)
        comparison = comparison_of(self.label, blocks, meter, plan.alpha)
        return replace(comparison, waiting_share=starts.sizes.waiting_share)

    def _blocks(self, starts: Starts, number: int) -> list[Block]:
        """The blocks of the start with this number, by a pair of its own or the next in turn."""
        which = number if starts.pairs is None else number % starts.pairs
        blocks, set_up_s = self._start(starts, number, which)
        if starts.may_take_turns and number == FIRST_PAIRS:
            there = FIRST_PAIRS + self._fresh.kept_for(starts.name)
            fewest = fewest_starts(starts.plan.alpha)
            starts_s = max(0, fewest - there) * self._fresh.start_s
            if starts_s > LONGEST_STARTS_S or fewest * set_up_s > LONGEST_SET_UPS_S:
                starts.pairs = min(there, number + 1)
        return blocks

    def _start(self, starts: Starts, number: int, which: int) -> tuple[list[Block], float]:
        """The blocks of one fork of each side of a pair, and the seconds to set up the test."""
        first = self._coin.choice(ORDERS)
        with self._pair(starts.name, which) as pair:
            began_s = now_s()
            with self._forks(pair, first[:2], starts) as forks:
                set_up_s = now_s() - began_s
                blocks = blocks_of_start(
                    forks, first, number, starts.meter, starts.sizes, starts.plan, self._coin
                )
        return blocks, set_up_s

    @contextmanager
    def _pair(self, name: str, which: int) -> Iterator[Workers]:
        """The pair with this number: one of the first, which have all tests, or of a file's own."""
        if which < FIRST_PAIRS:
            yield self._first[which]
            return
        with self._fresh.of(name, which - FIRST_PAIRS) as pair:
            yield pair

    @contextmanager
    def _forks(self, pair: Workers, letters: str, starts: Starts) -> Iterator[dict[str, Replicate]]:
        """A fork of each side of a pair, in this order, at the test's measurement."""
        with ExitStack() as stack:
            for letter in letters:
                fork = pair[letter].forked(starts.name, report_files=not starts.sizes.calls)
                stack.enter_context(fork)
            # Both warm up at the same time.
            forks = {letter: pair[letter].when_ready() for letter in letters}
            self._check_files(forks)
            with _on_one_cpu(list(forks.values())):
                yield forks

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


@contextmanager
def _on_one_cpu(forks: Sequence[Replicate]) -> Iterator[None]:
    """Run all sides, and this thread, on one CPU, if each is the work of one thread.

    On two CPUs, the side with the busier neighbour is slower throughout: the ratios of 24 starts of
    the same code had an SD of 25 %, and 2 % on one CPU. The system picked that CPU as an idle one.
    A message to another CPU takes 0.4 ms, as that has to wake up, and 0.15 ms on the same.
    """
    cpus = [fork.cpu for fork in forks if fork.cpu is not None]
    if len(cpus) < len(forks):
        yield
        return
    allowed = os.sched_getaffinity(0)
    for fork in forks:
        fork.pin_to_cpu(cpus[-1])
    os.sched_setaffinity(0, {cpus[-1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


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

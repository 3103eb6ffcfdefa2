"""Workers in processes of their own, kept for the next test of the same file.

Where memory lies changes the time of equal code, so a comparison needs a dozen processes and more
(docs/gate.md). Each takes a second or more to start, and a tenth to measure a test. A suite shares
the starts.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pytest_energy.clock import now_s
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.layout import SEEDS, Layout
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.commits.worker_process import WorkerProcess

# Workers of plain Python have 20 to 30 MB each, those of torch ten times as much. Beyond this share
# of the machine's memory a worker ends with its test.
KEPT_SHARE = 1 / 3

Workers = Mapping[str, WorkerProcess]
"""One of each side, by its letter."""


class KeptWorkers:
    """Starts a worker of each side with memory layouts of their own, and keeps them."""

    def __init__(self, sides: Mapping[str, Side], janitor: Janitor, coin: random.Random):
        self._sides, self._janitor, self._coin = sides, janitor, coin
        self.start_s = 0.0
        """Seconds that the last workers took to start."""
        self._file = ""
        self._kept: list[Workers] = []
        self._stack = ExitStack()

    @contextmanager
    def of(self, test: str, number: int) -> Iterator[Workers]:
        """The workers with this number, from 0, for a test. Raises `ReplicateFailed`.

        Two numbers never share a process; two tests of one file may.
        """
        if not self.kept_for(test):
            self.close()
            self._file = _file_of(test)
        if number < len(self._kept):
            yield self._kept[number]
            return
        with ExitStack() as stack:
            began_s = now_s()
            workers = start_workers(
                {letter: side.of_test(test) for letter, side in self._sides.items()},
                self._janitor,
                self._coin,
                stack,
            )
            for worker in workers.values():
                worker.wait_until_collected_again()
            self.start_s = now_s() - began_s
            yield workers
            if number == len(self._kept) and self._fit(workers):
                self._kept.append(workers)
                self._stack.push(stack.pop_all())

    def kept_for(self, test: str) -> int:
        """How many workers of each side are there for a test."""
        return len(self._kept) if _file_of(test) == self._file else 0

    def _fit(self, more: Workers) -> bool:
        """Whether the memory of all kept workers and of these stays within `KEPT_SHARE`."""
        every = [worker for workers in (*self._kept, more) for worker in workers.values()]
        machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return sum(own_bytes(worker.pid) for worker in every) <= KEPT_SHARE * machine_bytes

    def close(self) -> None:
        """End all kept workers."""
        self._kept.clear()
        self._stack.close()


def start_workers(
    sides: Mapping[str, Side], janitor: Janitor, coin: random.Random, stack: ExitStack
) -> dict[str, WorkerProcess]:
    """Start a worker of each side, which ``stack`` closes. They collect at the same time."""
    hash_seed = coin.randrange(SEEDS)
    workers = {}
    for letter, side in sides.items():
        workers[letter] = WorkerProcess(side, Layout.draw(hash_seed, coin), janitor)
        stack.callback(workers[letter].close)
    return workers


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def own_bytes(process: int) -> int:
    """The memory of a process that it shares with no file; 0 if the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        # proc(5), statm: pages in all, resident, and of those the pages of files.
        fields = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    return 0

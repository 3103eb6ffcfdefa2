"""A call -> its counted work: the least of a few counts, less the cost of counting.

Each count finds the memory in another known state (memory_state.py). The least stands for the
code: what bad luck adds is not the code's.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path

from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.counter import Counter
from pytest_energy.counting.memory_state import MemoryState, settle_collector, without_collector
from pytest_energy.model import CountedWork
from pytest_energy.plan import PROCESS_SPREAD

# Calls before any count: the first one imports, caches and allocates.
FIRST_CALLS = 3
# The interpreter specialises a code object in its first calls, which do 2 % more work, and again
# after the types' versions change. So many uncounted calls come before a count then; fewer of a
# call whose calls would execute more than the instructions, which take valgrind 0.3 s. A call that
# waits, for a process, a disk or a clock, takes time instead, so that the fewest come before it. No
# clock decides: a busy machine must not change a count.
MOST_WARM_UP_CALLS, FEWEST_WARM_UP_CALLS, WARM_UP_INSTRUCTIONS = 30, 2, 100_000_000
# Counts go on until the two least agree this closely, or there are MOST_COUNTS of them.
AGREED, MOST_COUNTS = 1e-3, 10
# A count of fewer instructions is mostly the counting: such a call is repeated within one count,
# in powers of `REPEATS_BASE`, since the cost of counting is counted for each number of repeats.
FEWEST_INSTRUCTIONS, REPEATS_BASE, MOST_REPEATS = 200_000, 8, 512
# Where the kernel lists a process's open files and threads.
PROCESS_FILES, PROCESS_THREADS = Path("/proc/self/fd"), Path("/proc/self/task")
GPU_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/render")


@dataclass(frozen=True)
class _FirstCalls:
    """What the uncounted first calls showed."""

    notes: tuple[str, ...]
    """What the counts leave out, or why they may vary."""
    waits: bool
    """Each call waited for a process, a disk or a clock."""


class WorkCounter:
    """Counts calls in this process, one after the other.

    ``seed`` chooses the memory states: another process may count in others.
    """

    def __init__(self, counter: Counter, seed: int = 0):
        self._counter, self._seed = counter, seed
        self._memory = MemoryState()
        self.least_dump = Dump(0)
        """Of the last call that was counted, with the cost of counting."""
        self._overheads: dict[int, Dump] = {}

    def count(self, call: Callable[[], object]) -> CountedWork:
        """Count ``call`` a few times and keep the least. Raises what ``call`` raises."""
        with self._undisturbed():
            first = _first_calls(repeat(call))
            dump = self._draw(repeat(_repeated(call, 1)), 0, FEWEST_WARM_UP_CALLS)
            repeats = 1 if first.waits else _repeats(dump.instructions)
            known = () if repeats > 1 else (dump,)
            return self._work(repeat(_repeated(call, repeats)), repeats, first, known)

    def count_prepared(self, calls: Iterator[Callable[[], object]]) -> CountedWork:
        """As `count`, with a fresh call for each: ``calls`` may prepare it uncounted."""
        with self._undisturbed():
            first = _first_calls(calls)
            return self._work((_repeated(call, 1) for call in calls), 1, first)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        with without_collector():
            settle_collector()
            try:
                yield
            finally:
                self._memory.release()

    def _work(
        self,
        calls: Iterator[Callable[[], object]],
        repeats: int,
        first: _FirstCalls,
        known: tuple[Dump, ...] = (),
    ) -> CountedWork:
        overhead = self._overhead(repeats)
        most = FEWEST_WARM_UP_CALLS if first.waits else MOST_WARM_UP_CALLS
        least, counts = self._least(calls, known, most)
        self.least_dump = least
        net = max(1, counts[0] - overhead.instructions)
        events = {
            name: max(0, round((count - overhead.events.get(name, 0)) / repeats))
            for name, count in least.events.items()
        }
        functions = {
            name: round(own / repeats)
            for name, count in least.functions.items()
            if (own := count - overhead.functions.get(name, 0)) > 0
        }
        spread = max(PROCESS_SPREAD, (counts[1] - counts[0]) / net)
        return CountedWork(
            self._counter.tool,
            events,
            spread,
            len(counts),
            functions,
            notes=first.notes,
            conditions=dict(self._counter.conditions),
        )

    def _overhead(self, repeats: int) -> Dump:
        """What the counting itself costs: the count of a call that does nothing."""
        if repeats not in self._overheads:
            nothing = _repeated(lambda: None, repeats)
            self._overheads[repeats] = self._least(repeat(nothing))[0]
        return self._overheads[repeats]

    def _least(
        self,
        calls: Iterator[Callable[[], object]],
        known: Sequence[Dump] = (),
        most_warm_up_calls: int = MOST_WARM_UP_CALLS,
    ) -> tuple[Dump, list[int]]:
        """The dump with the fewest instructions, and the instructions of every count."""
        dumps = list(known)
        counts = sorted(dump.instructions for dump in dumps)
        while len(dumps) < MOST_COUNTS:
            warm_up = _warm_up_calls(counts[0]) if counts else FEWEST_WARM_UP_CALLS
            dumps.append(self._draw(calls, len(dumps), min(warm_up, most_warm_up_calls)))
            counts = sorted(dump.instructions for dump in dumps)
            near = AGREED * max(counts[0], FEWEST_INSTRUCTIONS)
            if len(counts) > 1 and counts[1] - counts[0] <= near:
                break
        return min(dumps, key=lambda dump: dump.instructions), counts

    def _draw(self, calls: Iterator[Callable[[], object]], number: int, warm_up_calls: int) -> Dump:
        """Count one call in the memory state of this number."""
        number += self._seed * MOST_COUNTS
        gc.collect()
        self._memory.renew_types(number)
        _warm_up(calls, warm_up_calls)
        call = next(calls)
        self._memory.arrange(number)
        self._memory.make_room()
        return self._counter.count(call)


def merge_counts(works: Sequence[CountedWork]) -> CountedWork:
    """The counted work of one call from several processes: the least, and how far they differ."""
    least, *others = sorted(works, key=lambda work: work.instructions)
    if not others:
        return least
    return replace(
        least,
        spread=others[0].instructions / least.instructions - 1,
        counts=sum(work.counts for work in works),
        processes=len(works),
    )


def _first_calls(calls: Iterator[Callable[[], object]]) -> _FirstCalls:
    children = _ended_children()
    waits = []
    for call in islice(calls, FIRST_CALLS):
        before = _waits()
        call()
        waits.append(_waits() - before)
    # A computing call may wait once, when a page comes from the disk.
    return _FirstCalls(_notes(children), min(waits, default=0) > 0)


def _warm_up(calls: Iterator[Callable[[], object]], number: int) -> None:
    for call in islice(calls, number):
        call()


def _warm_up_calls(instructions: int) -> int:
    """How many uncounted calls come before a count of so many instructions."""
    affordable = WARM_UP_INSTRUCTIONS // max(1, instructions)
    return max(FEWEST_WARM_UP_CALLS, min(MOST_WARM_UP_CALLS, affordable))


def _repeats(instructions: int) -> int:
    """How often a count repeats a call of so many instructions: a power of `REPEATS_BASE`."""
    repeats = 1
    while repeats * instructions < FEWEST_INSTRUCTIONS and repeats < MOST_REPEATS:
        repeats *= REPEATS_BASE
    return repeats


def _repeated(call: Callable[[], object], repeats: int) -> Callable[[], None]:
    def run() -> None:
        for _ in repeat(None, repeats):
            call()

    return run


def _notes(children_before: tuple[int, ...]) -> tuple[str, ...]:
    """What the counts leave out, or why they may vary: other processes, threads, GPUs."""
    notes = []
    if _ended_children() != children_before:
        notes.append("it starts processes, whose work is not counted")
    if (threads := _threads()) > 1:
        notes.append(f"the process has {threads} threads, and a thread that waits counts too")
    if _open_gpus():
        notes.append("a GPU is in use, whose work is not counted")
    return tuple(notes)


def _waits() -> int:
    """How often this process gave up the CPU of its own accord."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def _ended_children() -> tuple[int, ...]:
    """Changes when a child of this process ends or is still there."""
    try:
        import resource
    except ImportError:  # Windows
        return ()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    listed = PROCESS_THREADS / str(os.getpid()) / "children"
    living = listed.read_text().split() if listed.exists() else []
    return usage.ru_minflt, *map(int, living)


def _threads() -> int:
    return len(list(PROCESS_THREADS.iterdir())) if PROCESS_THREADS.exists() else 1


def _open_gpus() -> list[str]:
    """The GPU devices that this process has open."""
    found = []
    for file in PROCESS_FILES.iterdir() if PROCESS_FILES.exists() else ():
        try:
            device = os.readlink(file)
        except OSError:
            continue
        if device.startswith(GPU_DEVICES):
            found.append(device)
    return found

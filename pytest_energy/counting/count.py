"""A call -> its counted work: the least of a few counts, less the cost of counting.

Each count finds the memory in another known state (memory_state.py). The least stands for the
code: what bad luck adds is not the code's.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path

from pytest_energy.clock import now_s
from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.counter import Counter
from pytest_energy.counting.memory_state import MemoryState, settle_collector
from pytest_energy.model import CountedWork
from pytest_energy.plan import PROCESS_SPREAD

# Calls before any count, whose time is taken: the first one imports, caches and allocates, and
# another program may hold one up.
FIRST_CALLS = 3
# The interpreter specialises a code object in its first calls, which do 2 % more work, and again
# after the types' versions change. At least so many uncounted calls come before a count then, and
# more as long as they take less than the seconds.
WARM_UP_CALLS, MOST_WARM_UP_CALLS, WARM_UP_S = 2, 30, 0.5
# The types' versions change before every second count: a warm-up costs more than a count.
COUNTS_PER_RENEWAL = 2
# Counts go on until the two least agree this closely, or there are MOST_COUNTS of them.
AGREED, FEWEST_COUNTS, MOST_COUNTS = 1e-3, 3, 10
# A count of fewer instructions is mostly the counting: such a call is repeated within one count.
# Under valgrind, uncounted, 200 000 take 0.3 ms.
FEWEST_INSTRUCTIONS, MOST_REPEATS, LONG_CALL_S = 200_000, 1024, 0.001
# Where the kernel lists a process's open files and threads.
PROCESS_FILES, PROCESS_THREADS = Path("/proc/self/fd"), Path("/proc/self/task")
GPU_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/render")


class WorkCounter:
    """Counts calls in this process, one after the other.

    ``seed`` chooses the memory states: another process may count in others.
    """

    def __init__(self, counter: Counter, seed: int = 0):
        self._counter, self._seed = counter, seed
        self._memory = MemoryState()
        self.least_dump = Dump({})
        """Of the last call that was counted, with the cost of counting."""
        self._overheads: dict[int, Dump] = {}

    def count(self, call: Callable[[], object]) -> CountedWork:
        """Count ``call`` a few times and keep the least. Raises what ``call`` raises."""
        with self._undisturbed():
            children = _ended_children()
            seconds = _warm_up(repeat(call), FIRST_CALLS)
            notes = _notes(children)
            repeats = 1 if seconds > LONG_CALL_S else self._repeats(call)
            return self._work(repeat(_repeated(call, repeats)), repeats, notes)

    def count_prepared(self, calls: Iterator[Callable[[], object]]) -> CountedWork:
        """As `count`, with a fresh call for each: ``calls`` may prepare it uncounted."""
        with self._undisturbed():
            children = _ended_children()
            _warm_up(calls, FIRST_CALLS)
            return self._work((_repeated(call, 1) for call in calls), 1, _notes(children))

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Without Python's collector: a collection belongs to no call, and comes when it likes."""
        was_on = gc.isenabled()
        gc.disable()
        settle_collector()
        try:
            yield
        finally:
            self._memory.release()
            if was_on:
                gc.enable()

    def _repeats(self, call: Callable[[], object]) -> int:
        """How often a count repeats the call: a power of two."""
        alone = self._counter.count(call).events["instructions"]
        repeats = 1
        while repeats * max(alone, 1) < FEWEST_INSTRUCTIONS and repeats < MOST_REPEATS:
            repeats *= 2
        return repeats

    def _work(
        self, calls: Iterator[Callable[[], object]], repeats: int, notes: tuple[str, ...]
    ) -> CountedWork:
        overhead = self._overhead(repeats)
        least, counts = self._least(calls)
        self.least_dump = least
        ordered = sorted(counts)
        net = max(1, ordered[0] - overhead.events["instructions"])
        events = {
            name: max(0, round((count - overhead.events.get(name, 0)) / repeats))
            for name, count in least.events.items()
        }
        functions = {
            name: round(own / repeats)
            for name, count in least.functions.items()
            if (own := count - overhead.functions.get(name, 0)) > 0
        }
        spread = max(PROCESS_SPREAD, (ordered[1] - ordered[0]) / net)
        return CountedWork(
            self._counter.tool,
            events,
            spread,
            len(counts),
            functions,
            notes=notes,
            conditions=dict(self._counter.conditions),
        )

    def _overhead(self, repeats: int) -> Dump:
        """What the counting itself costs: the count of a call that does nothing."""
        if repeats not in self._overheads:
            nothing = _repeated(lambda: None, repeats)
            self._overheads[repeats] = self._least(repeat(nothing))[0]
        return self._overheads[repeats]

    def _least(self, calls: Iterator[Callable[[], object]]) -> tuple[Dump, list[int]]:
        """The dump with the fewest instructions, and the instructions of every count."""
        dumps: list[Dump] = []
        while len(dumps) < MOST_COUNTS:
            number = self._seed * MOST_COUNTS + len(dumps)
            gc.collect()
            if len(dumps) % COUNTS_PER_RENEWAL == 0:
                self._memory.renew_types(number)
                _warm_up(calls, MOST_WARM_UP_CALLS)
            else:  # a collection empties Python's lists of free tuples, floats and others
                _warm_up(calls, WARM_UP_CALLS)
            call = next(calls)
            self._memory.arrange(number)
            self._memory.make_room()
            dumps.append(self._counter.count(call))
            counts = sorted(dump.events["instructions"] for dump in dumps)
            if len(counts) >= FEWEST_COUNTS and counts[1] - counts[0] <= AGREED * counts[0]:
                break
        least = min(dumps, key=lambda dump: dump.events["instructions"])
        return least, [dump.events["instructions"] for dump in dumps]


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


def _warm_up(calls: Iterator[Callable[[], object]], most: int) -> float:
    """Make uncounted calls, fewer if they take long. Returns the seconds of the fastest."""
    began_s, seconds = now_s(), math.inf
    for number in range(most):
        if number >= WARM_UP_CALLS and now_s() - began_s > WARM_UP_S:
            break
        call = next(calls)
        call_began_s = now_s()
        call()
        seconds = min(seconds, now_s() - call_began_s)
    return seconds


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

"""Counted work of one side: this tree, or another commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_energy.commits.janitor import Janitor, kill_session
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.counting.at_once import count_at_once
from pytest_energy.counting.count import merge_counts
from pytest_energy.counting.process import CountOrder
from pytest_energy.model import Counted, CountedWork
from pytest_energy.runs.work_format import work_from_json

# Up to this tolerance the calls are counted in several processes, and how far those differ is the
# spread: numpy's and other caches place what they hold by addresses, which an import fixes for a
# process's life. Equal numpy code counted up to 0.55 % apart in two processes.
FINE_TOLERANCE, PROCESSES_FOR_FINE = 0.005, 4
# A worker starts in 8 s, or 19 s where it imports torch, and counts a short test in one to two
# seconds: fewer tests are not worth a worker of their own.
FEWEST_TESTS_A_WORKER = 6


@dataclass(frozen=True)
class CountSettings:
    """How tests are counted."""

    limit_s: float
    """Seconds for one test."""
    tolerance: float
    simulate: bool = True
    """Under Callgrind; else the CPU's own counter counts."""
    keep: Path | None = None
    """Where the dumps are kept for KCachegrind; None: nowhere."""
    workers: int = 1
    """How many worker processes count at once."""

    @property
    def processes(self) -> int:
        """In how many processes each call is counted."""
        return 1 if self.tolerance > FINE_TOLERANCE else PROCESSES_FOR_FINE


def count_sides(
    sides: Sequence[Side], tests: Sequence[str], settings: CountSettings, janitor: Janitor
) -> list[dict[str, Counted]]:
    """Each side's counted work of each of the tests, by node id; without tests, of all that
    measure. Dumps are kept of the last side.

    Raises `CountingUnavailable` if a side's worker cannot collect them.
    """
    # Sides, and the processes of a call, are counted at once too: more parts would only start more.
    divided = list(parts(tests, settings.workers // (len(sides) * settings.processes)))
    keeps = [*(None for _ in sides[1:]), settings.keep]
    orders = [
        list(_orders(side, divided, replace(settings, keep=keep), janitor))
        for side, keep in zip(sides, keeps, strict=True)
    ]
    counted = iter(count_at_once([each for side in orders for each in side], settings.workers))
    found = []
    for side in orders:
        by_name: dict[str, list[Counted]] = {}
        for _ in side:
            for name, message in next(counted).items():
                by_name.setdefault(name, []).append(_counted(message))
        found.append({name: _merged(each) for name, each in by_name.items()})
    return found


def _orders(
    side: Side, divided: Sequence[Sequence[str]], settings: CountSettings, janitor: Janitor
) -> Iterator[CountOrder]:
    """One side's tests in these parts, each part in as many processes as asked."""
    order = CountOrder(
        side.python,
        side.folder,
        side.options,
        side.paths,
        side.import_paths,
        side.tree,
        side.forbidden_tree,
        (),
        settings.limit_s,
        janitor.folder,
        settings.simulate,
        on_start=janitor.watch,
        kill=kill_session,
    )
    for seed in range(settings.processes):
        keep = None if seed else settings.keep  # several would write the same files at once
        for part in divided:
            yield replace(order, tests=tuple(part), seed=seed, keep=keep)


def parts(tests: Sequence[str], workers: int) -> Iterator[Sequence[str]]:
    """Divide the tests among so many workers or fewer, in their order: neighbours share fixtures.

    >>> list(parts("abcdefghijklmn", 4))
    ['abcdefg', 'hijklmn']
    """
    number = max(1, min(workers, len(tests) // FEWEST_TESTS_A_WORKER))
    for part in range(number):
        yield tests[part * len(tests) // number : (part + 1) * len(tests) // number]


def _counted(message: Mapping[str, Any]) -> Counted:
    if "failed" in message:
        return Counted(reason=f"not counted: {message['failed']}")
    baseline = message.get("baseline")
    return Counted(
        work_from_json(message["candidate"]), None if baseline is None else work_from_json(baseline)
    )


def _merged(counted: Sequence[Counted]) -> Counted:
    """One call, counted in several processes."""
    failed = [each for each in counted if each.candidate is None]
    if failed:
        return failed[0]
    candidates, baselines = (
        [work for work in side if work is not None]
        for side in zip(*((each.candidate, each.baseline) for each in counted), strict=True)
    )
    baseline: CountedWork | None = merge_counts(baselines) if baselines else None
    return Counted(merge_counts(candidates), baseline)

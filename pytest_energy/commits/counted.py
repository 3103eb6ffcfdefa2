"""Counted work of one side: this tree, or another commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.counting.count import merge_counts
from pytest_energy.counting.process import CountOrder, count_tests
from pytest_energy.model import Counted, CountedWork
from pytest_energy.runs.work_format import work_from_json

# Below this tolerance the spread of two processes (`plan.PROCESS_SPREAD`) leaves too little:
# the calls are counted in more than one, and how far those differ is the spread.
FINE_TOLERANCE, PROCESSES_FOR_FINE = 0.005, 3


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

    @property
    def processes(self) -> int:
        """In how many processes each call is counted."""
        return 1 if self.tolerance >= FINE_TOLERANCE else PROCESSES_FOR_FINE


def count_side(
    side: Side, tests: Sequence[str], settings: CountSettings, janitor: Janitor
) -> dict[str, Counted]:
    """The counted work of each of the tests, by node id; without tests, of all that measure.

    Raises `CountingUnavailable` if the side's worker cannot collect them.
    """
    order = CountOrder(
        side.python,
        side.folder,
        side.options,
        side.paths,
        side.import_paths,
        side.tree,
        side.forbidden_tree,
        tuple(tests),
        settings.limit_s,
        janitor.folder,
        settings.simulate,
        settings.keep,
        on_start=janitor.watch,
    )
    found: dict[str, list[Counted]] = {}
    for seed in range(settings.processes):
        for name, message in count_tests(replace(order, seed=seed)):
            found.setdefault(name, []).append(_counted(message))
    return {name: _merged(each) for name, each in found.items()}


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

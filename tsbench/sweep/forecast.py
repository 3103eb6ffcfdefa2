"""How long a sweep will take and how many joules it will cost, from its finished tasks."""

from __future__ import annotations

import statistics
import time
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tsbench.sweep.task import KINDS

if TYPE_CHECKING:
    from tsbench.sweep.task import Task

# The latest tasks show the pace, if they are so many per CPU: those that are under way then matter
# little.
PACE_TASKS = 4
NAMES = {"train": "trainings", "build": "builds", "measure": "measurements"}


@dataclass(frozen=True)
class Capacity:
    """What runs at once: trainings and builds on `cpus`, measurements on `nodes` whole nodes."""

    cpus: int
    nodes: int = 1
    cpus_of_node: float = 1.0  # which a measurement keeps from the others


class Durations:
    """The time of tasks, from finished tasks like them."""

    def __init__(self, records: Iterable[Mapping[str, Any]]):
        self._seconds: dict[Hashable, list[float]] = defaultdict(list)  # sorted
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Counts a finished task."""
        seconds = _seconds(record)
        if seconds is None:
            return
        for key in _keys(record["task"]):
            insort(self._seconds[key], seconds)

    def of(self, keys: Sequence[Hashable]) -> float | None:
        """The median of the most similar ones, or None without any of this kind."""
        for key in keys:
            if key in self._seconds:
                return statistics.median(self._seconds[key])
        return None


class TimeLeft:
    """The time of the tasks that are left, kept up to date."""

    def __init__(self, left: Iterable[Task], durations: Durations, capacity: Capacity):
        self._durations, self._capacity = durations, capacity
        self._left = Counter(_keys(asdict(task)) for task in left)
        # Of each finished task: when, and its seconds of work and of measuring.
        self._finished = [(time.monotonic(), 0.0, 0.0)]

    def finish(self, task: Task, record: Mapping[str, Any] | None = None) -> None:
        """One task less. The record of one that did not fail improves the estimate."""
        self._left[_keys(asdict(task))] -= 1
        if record and "task" in record:
            self._durations.add(record)
            seconds = _seconds(record)
            if seconds is not None:
                of_kind = (0.0, seconds) if task.kind == "measure" else (seconds, 0.0)
                self._finished.append((time.monotonic(), *of_kind))

    def seconds(self) -> tuple[float, int]:
        """The time of those that are like a finished one, and the number of the others."""
        work, measuring, unknown = 0.0, 0.0, 0
        for keys, count in self._left.items():
            each = self._durations.of(keys)
            if each is None:
                unknown += count
            elif keys[-1] == ("measure",):
                measuring += count * each
            else:
                work += count * each
        return self._at_once(work, measuring) * self._pace(), unknown

    def _at_once(self, work: float, measuring: float) -> float:
        """The time that tasks of so many seconds take if no CPU ever waits."""
        c = self._capacity
        # Where some nodes do not measure, they train meanwhile.
        return max((work + measuring * c.cpus_of_node) / c.cpus, measuring / c.nodes)

    def _pace(self) -> float:
        """The time of the later half of the finished tasks, in multiples of what they should take.

        Processes take time to start, and nodes are lost: the first half knows nothing of that.
        """
        half = self._finished[len(self._finished) // 2 :]
        (began_s, *_), *latest = half
        expected_s = self._at_once(sum(w for _, w, _ in latest), sum(m for _, _, m in latest))
        if len(latest) < PACE_TASKS * self._capacity.cpus or expected_s <= 0:
            return 1.0
        return max(1.0, (time.monotonic() - began_s) / expected_s)

    def __str__(self) -> str:
        seconds, unknown = self.seconds()
        if not unknown:
            return f"about {duration(seconds)} left"
        return f"{duration(seconds)} and the time of {unknown} tasks left"


def _seconds(record: Mapping[str, Any]) -> float | None:
    """The time that a finished task took, if its record has it."""
    started_s, ended_s = record.get("started_s"), record.get("ended_s")
    return None if started_s is None or ended_s is None else ended_s - started_s


def _keys(task: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """What tasks of the same time have in common, the most similar first."""
    kind, dataset, config = task["kind"], task["dataset"], task["config"]
    variants = tuple(map(str, task.get("variants", ())))
    how = (task.get("epochs"), variants, task.get("batch_cases"), task.get("max_time_s"))
    return (
        (kind, dataset, config, *how),
        (kind, config, *how),
        (kind, variants, task.get("max_time_s")),
        (kind,),
    )


def forecast(
    tasks: Sequence[Task],
    left: Sequence[Task],
    finished: Sequence[Mapping[str, Any]],
    capacity: Capacity,
) -> Iterator[str]:
    """Lines with the number of tasks, their time and their joules, as far as they are known.

    `finished` are the records of this sweep and of earlier ones.
    """
    counts = Counter(task.kind for task in left)
    kinds = ", ".join(f"{counts[kind]} {NAMES[kind]}" for kind in KINDS)
    yield f"{len(tasks)} tasks, {len(tasks) - len(left)} already finished; left: {kinds}"
    trainings = [each for each in left if each.kind == "train"]
    measuring = [each for each in left if each.kind == "measure"]
    if measuring:
        seconds = sum(each.max_time_s * len(each.variants) for each in measuring)
        yield f"measuring: {duration(seconds)} at least, one per node at a time"
    if trainings:
        known = [record for record in finished if record["task"]["kind"] == "train"]
        alike = [_alike(each, known) for each in trainings]
        if any(alike):
            seconds = sum(
                statistics.median(record["cpu_seconds"] for record in records)
                for records in alike
                if records
            )
            cpu = duration(seconds)
            yield f"training, estimated from finished ones: {cpu} of CPU, {_joules(alike)}"
        if unknown := sum(not records for records in alike):
            yield (
                f"training: time and joules of {unknown} are unknown until a similar one finishes"
            )
    if left:
        time_left = TimeLeft(left, Durations(finished), capacity)
        yield f"in all, estimated from finished tasks: {time_left}"


def _alike(training: Task, known: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The finished trainings of the same dataset and config, with any seed."""
    same = ("dataset", "config", "epochs")
    return [
        record
        for record in known
        if all(record["task"][key] == getattr(training, key) for key in same)
    ]


def _joules(alike: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Measured and estimated joules, listed apart."""
    totals: dict[str, float] = {}
    for records in alike:
        # A resumed training has no joules where its two runs used different kinds of meter.
        counted = [record for record in records if record["joules"] is not None]
        for provenance in {record["provenance"] for record in counted}:
            joules = statistics.median(
                record["joules"] for record in counted if record["provenance"] == provenance
            )
            totals[provenance] = totals.get(provenance, 0.0) + joules
    return (
        ", ".join(f"{joules:.0f} J {provenance}" for provenance, joules in sorted(totals.items()))
        or "joules not counted"
    )


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""How long a sweep will take and how many joules it will cost, from its finished tasks."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsbench.sweep.results import Results
    from tsbench.sweep.task import Task


def forecast(tasks: Sequence[Task], left: Sequence[Task], results: Results) -> Iterator[str]:
    """Lines with the number of tasks, their time and their joules, as far as they are known."""
    trainings = [each for each in left if each.kind == "train"]
    measuring = [each for each in left if each.kind == "measure"]
    yield (
        f"{len(tasks)} tasks, {len(tasks) - len(left)} already finished; left: "
        f"{len(trainings)} trainings, {len(measuring)} measurements"
    )
    if measuring:
        seconds = sum(each.max_time_s * len(each.variants) for each in measuring)
        yield f"measuring: {duration(seconds)} at least, one per node at a time"
    if trainings:
        known = [record for record in results.records() if record["task"]["kind"] == "train"]
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


def _alike(training: Task, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finished trainings of the same dataset and config, with any seed."""
    same = ("dataset", "config", "epochs")
    return [
        record
        for record in known
        if all(record["task"][key] == getattr(training, key) for key in same)
    ]


def _joules(alike: Sequence[Sequence[dict[str, Any]]]) -> str:
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

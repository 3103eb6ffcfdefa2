"""Counted work to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_energy.model import Counted, CountedWork
from pytest_energy.runs.json_values import number, numbers, of_type, texts

# The functions that a saved run keeps: those that do the most work.
MOST_FUNCTIONS = 20


def counted_to_json(counted: Counted | None) -> dict[str, Any]:
    """``work``, if the run counted it; an earlier version reads the entry without it."""
    if counted is None or counted.candidate is None:
        return {}
    work = {"candidate": work_to_json(counted.candidate)}
    if counted.baseline is not None:
        work["baseline"] = work_to_json(counted.baseline)
    return {"work": work}


def counted_from_json(saved: Mapping[str, Any] | None) -> Counted | None:
    """The counted work of a benchmark, or None. Raises what `json_values` raises."""
    if saved is None:
        return None
    baseline = of_type(dict, saved).get("baseline")
    return Counted(
        work_from_json(saved["candidate"]), None if baseline is None else work_from_json(baseline)
    )


def work_to_json(work: CountedWork) -> dict[str, Any]:
    """One side of the value of ``work`` in the entry of a benchmark."""
    return {
        "tool": work.tool,
        "events": dict(work.events),
        "spread": work.spread,
        "counts": work.counts,
        "functions": _most(work.functions),
        "bytecodes": _most(work.bytecodes),
        "notes": list(work.notes),
        "processes": work.processes,
        "conditions": dict(work.conditions),
    }


def work_from_json(saved: Mapping[str, Any]) -> CountedWork:
    """The counted work of one side. Raises what `json_values` raises."""
    of_type(dict, saved)
    events = numbers(saved["events"])
    if events.get("instructions", 0) <= 0:
        raise ValueError(f"counted work of {events.get('instructions')!r} instructions")
    functions, bytecodes = numbers(saved["functions"]), numbers(saved["bytecodes"])
    spread, counts = number(saved["spread"], 0), int(number(saved["counts"], 1))
    conditions = of_type(dict, saved.get("conditions", {}))
    return CountedWork(
        of_type(str, saved["tool"]),
        events,
        spread,
        counts,
        functions,
        bytecodes,
        # An earlier version saved none of these.
        texts(saved.get("notes", [])),
        int(number(saved.get("processes", 1), 1)),
        {name: of_type(str, value) for name, value in conditions.items()},
    )


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: -item[1])[:MOST_FUNCTIONS])

"""Write and read a run as JSON: pytest-benchmark's file with this plugin's keys under ``energy``.

``run.schema.json`` beside this file describes the keys. The raw windows are the data. The figures
beside them are for people and other tools; the reader computes them again from the windows.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pytest_energy.errors import RunUnreadable, RunWithoutJoules
from pytest_energy.machine import fingerprint
from pytest_energy.model import (
    Comparison,
    Domain,
    Measurement,
    MeterInfo,
    Provenance,
    Quality,
    Result,
    Verdict,
    VerdictName,
    Window,
)
from pytest_energy.runs import journal
from pytest_energy.runs.comparison_format import (
    candidate_windows,
    comparison_from_json,
    comparison_to_json,
)
from pytest_energy.runs.json_values import (
    UNREADABLE,
    finite,
    number,
    objects,
    of_type,
    one_of,
    shown,
    texts,
)
from pytest_energy.runs.software import DISTRIBUTIONS, PYTHON, software
from pytest_energy.runs.window_format import (
    LARGEST,
    interval_to_json,
    is_readable,
    rounded_window,
    windows_from_json,
)
from pytest_energy.runs.work_format import counted_from_json, counted_to_json
from pytest_energy.stats.per_call import figures

# 2 added `software`, packed blocks, and a candidate's windows that are in its blocks alone.
SCHEMA = 2
READABLE_SCHEMAS = (1, 2)
OPENED_BY_A_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
SCHEMA_FILE = Path(__file__).with_name("run.schema.json")


@dataclass(frozen=True)
class Run:
    """One saved run."""

    path: str
    machine: Mapping[str, object]
    results: tuple[Result, ...]
    commit: Mapping[str, object]
    at: str
    """ISO 8601, as pytest-benchmark writes it."""
    software: Mapping[str, Any] = field(default_factory=dict)
    """As `software.software` gives it; without keys that the file does not record."""


def run_to_json(meter: MeterInfo, idle: Iterable[Window]) -> dict[str, Any]:
    """The value of ``energy`` at the top of the file."""
    return {
        "schema": SCHEMA,
        "meters": [_meter_to_json(meter)],
        "machine": fingerprint(),
        "software": software(),
        "idle": [rounded_window(window) for window in idle if is_readable(window, meter)],
    }


def result_to_json(result: Result) -> dict[str, Any]:
    """The value of ``energy`` in the entry of one benchmark."""
    measurement, meter = result.measurement, result.measurement.meter
    per_call = figures(measurement)
    return {
        "provenance": meter.provenance,
        "meter": meter.name,
        "joules": interval_to_json(per_call.joules),
        "net_joules": interval_to_json(per_call.net_joules),
        "watts": interval_to_json(per_call.watts),
        "seconds": interval_to_json(per_call.seconds),
        "domains": per_call.domains,
        "resolution_joules": meter.resolution_joules,
        "update_interval_s": meter.update_interval_s,
        "windows": []
        if _are_in_blocks(measurement.windows, result.comparison)
        else [rounded_window(window) for window in measurement.windows],
        "versus": comparison_to_json(result.comparison),
        "quality": {
            quality.name: {
                "value": finite(quality.value),
                "floor": quality.floor,
                **({} if quality.ceiling is None else {"ceiling": quality.ceiling}),
            }
            for quality in result.qualities
        },
        "verdicts": [
            {"metric": v.metric, "verdict": v.verdict, "reason": v.reason} for v in result.verdicts
        ],
        "warnings": list(measurement.warnings),
        **counted_to_json(result.counted),
        **({} if result.items is None else {"items": result.items}),
    }


def readable_json(result: Result) -> dict[str, Any]:
    """As `result_to_json`, for a result that `read_run` accepts.

    Raises `RunUnreadable` for others: a window of 0 s, say, or negative joules.
    """
    try:
        saved = result_to_json(result)
        meter = _meter_to_json(result.measurement.meter)
        benchmark = {"fullname": result.name, "group": result.group, "energy": saved}
        _result_from_json(benchmark, {meter["name"]: _meter_from_json(meter)}, [])
        json.dumps(saved, allow_nan=False)
    except UNREADABLE as error:
        raise RunUnreadable(str(error)) from None
    return saved


def document_text(document: Mapping[str, Any], dumps: Callable[..., str] = json.dumps) -> str:
    """A whole run as JSON, with a line for each benchmark."""
    rest = {key: value for key, value in document.items() if key != "benchmarks"}
    compact = partial(dumps, separators=(",", ":"))
    benchmarks = ",\n".join(compact(benchmark) for benchmark in document["benchmarks"])
    return f'{compact(rest)[:-1]},\n"benchmarks":[\n{benchmarks}\n]}}\n'


def _refuse_endless(path: str | Path) -> None:
    """Raises `RunUnreadable` for a FIFO, a socket or a device: reading it may never end.

    A pipe that a shell opened, as ``<(command)`` does, ends with its command.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path).startswith(OPENED_BY_A_SHELL)):
        raise RunUnreadable(f"{path}: not a run: it is a FIFO, a socket or a device, and no file")


def read_run(path: str | Path) -> Run:
    """The run in a file, or in the journal of an interrupted run (`journal.py`).

    Raises `RunUnreadable`, which names the file and the problem.
    """
    try:
        _refuse_endless(path)
        text = Path(path).read_text(encoding="utf8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        raise RunUnreadable(f"{path}: cannot be read: {error}") from None
    try:
        document = (
            journal.to_document(text) if Path(path).suffix == journal.SUFFIX else json.loads(text)
        )
    except (ValueError, RecursionError) as error:
        raise RunUnreadable(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict) or "benchmarks" not in document:
        raise RunUnreadable(f"{path}: not a run of pytest-benchmark: no key 'benchmarks'")
    if "energy" not in document:
        raise RunWithoutJoules(f"{path}: no joules: the run was saved without --energy")
    try:
        ours = of_type(dict, document["energy"])
        if ours["schema"] not in READABLE_SCHEMAS:
            raise RunUnreadable(
                f"{path}: schema {shown(ours['schema'])}; this version of pytest-energy reads "
                f"{' and '.join(map(str, READABLE_SCHEMAS))}"
            )
        meters = {meter.name: meter for meter in map(_meter_from_json, objects(ours["meters"]))}
        saved_idle = ours.get("idle", [])
        results = tuple(
            _result_from_json(benchmark, meters, saved_idle)
            for benchmark in objects(document["benchmarks"])
            if benchmark.get("energy") is not None
        )
        return Run(
            str(path),
            _machine_from_json(ours["machine"]),
            results,
            of_type(dict, document.get("commit_info") or {}),
            of_type(str, document.get("datetime") or ""),
            _software_from_json(ours, document.get("machine_info")),
        )
    except KeyError as error:
        raise RunUnreadable(f"{path}: broken: the key {error} is missing") from None
    except UNREADABLE as error:
        raise RunUnreadable(f"{path}: broken: {error}") from None


def _result_from_json(
    benchmark: Mapping[str, Any], meters: Mapping[str, MeterInfo], saved_idle: Any
) -> Result:
    ours, name = of_type(dict, benchmark["energy"]), of_type(str, benchmark["fullname"])
    if ours["meter"] not in meters:
        raise ValueError(
            f"{name} was measured by {shown(ours['meter'])}, "
            f"which is not one of the meters {sorted(meters)}"
        )
    meter = meters[ours["meter"]]
    if ours["provenance"] != meter.provenance:
        raise ValueError(
            f"{name} is {ours['provenance']!r}, but its meter {meter.name} is {meter.provenance!r}"
        )
    comparison = comparison_from_json(ours["versus"], meter)
    windows = windows_from_json(ours["windows"], meter, fewest_calls=1)
    if not windows and comparison is not None:
        windows = candidate_windows(comparison)
    if not windows:
        raise ValueError(f"{name} has no windows")
    idle = windows_from_json(saved_idle, meter, fewest_calls=0)
    return Result(
        name,
        Measurement(
            name,
            meter,
            windows,
            idle,
            texts(ours["warnings"]),
        ),
        comparison,
        tuple(
            _quality_from_json(name, of_type(dict, saved))
            for name, saved in of_type(dict, ours["quality"]).items()
        ),
        tuple(map(_verdict_from_json, objects(ours["verdicts"]))),
        of_type((str, type(None)), benchmark.get("group")),
        counted_from_json(ours.get("work")),
        _items_from_json(ours.get("items")),
    )


def _meter_to_json(meter: MeterInfo) -> dict[str, Any]:
    return {
        "name": meter.name,
        "provenance": meter.provenance,
        "domains": [{"name": domain.name, "parent": domain.parent} for domain in meter.domains],
        "update_interval_s": meter.update_interval_s,
        "resolution_joules": meter.resolution_joules,
        "band": list(meter.band),
        "notes": list(meter.notes),
        "ticks": meter.ticks,
    }


def _meter_from_json(saved: Mapping[str, Any]) -> MeterInfo:
    if len(of_type(list, saved["band"])) != 2:
        raise ValueError(f"{shown(saved['band'])} is not a band of two numbers")
    low, high = saved["band"]
    domains = tuple(
        Domain(of_type(str, domain["name"]), of_type((str, type(None)), domain["parent"]))
        for domain in objects(saved["domains"])
    )
    if all(domain.parent is not None for domain in domains):
        raise ValueError(f"every domain of the meter {saved['name']!r} is inside another")
    return MeterInfo(
        of_type(str, saved["name"]),
        one_of(get_args(Provenance), saved["provenance"]),
        domains,
        number(saved["update_interval_s"], 0, LARGEST),
        number(saved["resolution_joules"], 0, LARGEST),
        (number(low, 0, LARGEST), number(high, 0, LARGEST)),
        texts(saved["notes"]),
        of_type(bool, saved["ticks"]),
    )


def _are_in_blocks(windows: tuple[Window, ...], comparison: Comparison | None) -> bool:
    return comparison is not None and windows == candidate_windows(comparison)


def _machine_from_json(saved: Any) -> dict[str, Any]:
    """Texts and finite numbers: what describes a machine is printed and written again."""
    machine: dict[str, Any] = of_type(dict, saved)
    for value in machine.values():
        if value is not None and not isinstance(value, (str, bool)):
            number(value)
    return machine


def _software_from_json(ours: Mapping[str, Any], machine_info: Any) -> dict[str, Any]:
    """Schema 1 has no software, but pytest-benchmark records the interpreter."""
    if ours["schema"] == 1:
        info = machine_info if isinstance(machine_info, dict) else {}
        python = [info.get(f"python_{key}") for key in ("implementation", "version")]
        known = [part for part in python if isinstance(part, str) and part]
        return {PYTHON: " ".join(known)} if len(known) == len(python) else {}
    saved = of_type(dict, ours["software"])
    versions = of_type(dict, saved[DISTRIBUTIONS])
    return {
        PYTHON: of_type(str, saved[PYTHON]),
        DISTRIBUTIONS: {name: of_type(str, version) for name, version in versions.items()},
    }


def _quality_from_json(name: str, saved: Mapping[str, Any]) -> Quality:
    # An earlier version wrote no ceiling.
    value, floor, ceiling = saved["value"], saved["floor"], saved.get("ceiling")
    return Quality(
        name,
        math.nan if value is None else number(value),
        None if floor is None else number(floor),
        None if ceiling is None else number(ceiling),
    )


def _verdict_from_json(saved: Mapping[str, Any]) -> Verdict:
    return Verdict(
        of_type(str, saved["metric"]),
        one_of(get_args(VerdictName), saved["verdict"]),
        of_type(str, saved["reason"]),
    )


def _items_from_json(saved: Any) -> int | None:
    if saved is None:
        return None
    items = number(saved, 1, LARGEST)
    if items != int(items):
        raise ValueError(f"{shown(saved)} items in a call")
    return int(items)

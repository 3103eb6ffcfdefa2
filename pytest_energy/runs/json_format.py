"""Write and read a run as JSON: pytest-benchmark's file with this plugin's keys under ``energy``.

``run.schema.json`` beside this file describes the keys. The raw windows are the data. The figures
beside them are for people and other tools; the reader computes them again from the windows.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pytest_energy.errors import RunUnreadable, RunWithoutJoules
from pytest_energy.machine import fingerprint
from pytest_energy.model import (
    ORDERS,
    Block,
    Comparison,
    Domain,
    Interval,
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
from pytest_energy.stats.gps_up import gps_up
from pytest_energy.stats.per_call import figures

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("run.schema.json")
MAX_FLOAT = sys.float_info.max
# What a value of another type or size raises while it is read.
_BROKEN = (TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Run:
    """One saved run."""

    path: str
    machine: Mapping[str, object]
    results: tuple[Result, ...]
    commit: Mapping[str, object]
    at: str
    """ISO 8601, as pytest-benchmark writes it."""


def run_to_json(meter: MeterInfo, idle: Iterable[Window]) -> dict[str, Any]:
    """The value of ``energy`` at the top of the file."""
    return {
        "schema": SCHEMA,
        "meters": [_meter_to_json(meter)],
        "machine": fingerprint(),
        "idle": [window_to_json(window) for window in idle if _is_readable(window, meter)],
    }


def result_to_json(result: Result) -> dict[str, Any]:
    """The value of ``energy`` in the entry of one benchmark."""
    measurement, meter = result.measurement, result.measurement.meter
    per_call = figures(measurement)
    return {
        "provenance": meter.provenance,
        "meter": meter.name,
        "joules": _interval_to_json(per_call.joules),
        "net_joules": _interval_to_json(per_call.net_joules),
        "watts": _interval_to_json(per_call.watts),
        "seconds": _interval_to_json(per_call.seconds),
        "domains": per_call.domains,
        "resolution_joules": meter.resolution_joules,
        "update_interval_s": meter.update_interval_s,
        "windows": [window_to_json(window) for window in measurement.windows],
        "versus": _comparison_to_json(result.comparison),
        "quality": {
            quality.name: {"value": _finite(quality.value), "floor": quality.floor}
            for quality in result.qualities
        },
        "verdicts": [
            {"metric": v.metric, "verdict": v.verdict, "reason": v.reason} for v in result.verdicts
        ],
        "warnings": list(measurement.warnings),
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
    except _BROKEN as error:
        raise RunUnreadable(str(error)) from None
    return saved


def document_text(document: Mapping[str, Any], dumps: Callable[..., str] = json.dumps) -> str:
    """A whole run as JSON, with a line for each benchmark."""
    rest = {key: value for key, value in document.items() if key != "benchmarks"}
    compact = partial(dumps, separators=(",", ":"))
    benchmarks = ",\n".join(compact(benchmark) for benchmark in document["benchmarks"])
    return f'{compact(rest)[:-1]},\n"benchmarks":[\n{benchmarks}\n]}}\n'


def read_run(path: str | Path) -> Run:
    """The run in a file, or in the journal of an interrupted run (`journal.py`).

    Raises `RunUnreadable`, which names the file and the problem.
    """
    try:
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
        ours = document["energy"]
        if ours["schema"] != SCHEMA:
            raise RunUnreadable(
                f"{path}: schema {ours['schema']!r}; this version of pytest-energy reads {SCHEMA}"
            )
        meters = {meter.name: meter for meter in map(_meter_from_json, ours["meters"])}
        saved_idle = ours.get("idle", [])
        results = tuple(
            _result_from_json(benchmark, meters, saved_idle)
            for benchmark in document["benchmarks"]
            if benchmark.get("energy") is not None
        )
        return Run(
            str(path),
            _of_type(dict, ours["machine"]),
            results,
            _of_type(dict, document.get("commit_info") or {}),
            _of_type(str, document.get("datetime") or ""),
        )
    except KeyError as error:
        raise RunUnreadable(f"{path}: broken: the key {error} is missing") from None
    except _BROKEN as error:
        raise RunUnreadable(f"{path}: broken: {error}") from None


def _result_from_json(
    benchmark: Mapping[str, Any], meters: Mapping[str, MeterInfo], saved_idle: list[Any]
) -> Result:
    ours, name = benchmark["energy"], _of_type(str, benchmark["fullname"])
    if ours["meter"] not in meters:
        raise ValueError(
            f"{name} was measured by {ours['meter']!r}, "
            f"which is not one of the meters {sorted(meters)}"
        )
    meter = meters[ours["meter"]]
    if ours["provenance"] != meter.provenance:
        raise ValueError(
            f"{name} is {ours['provenance']!r}, but its meter {meter.name} is {meter.provenance!r}"
        )
    windows = tuple(window_from_json(window, meter, fewest_calls=1) for window in ours["windows"])
    if not windows:
        raise ValueError(f"{name} has no windows")
    idle = tuple(window_from_json(window, meter, fewest_calls=0) for window in saved_idle)
    return Result(
        name,
        Measurement(
            name,
            meter,
            windows,
            idle,
            tuple(_of_type(str, warning) for warning in ours["warnings"]),
        ),
        _comparison_from_json(ours["versus"], meter),
        tuple(_quality_from_json(name, saved) for name, saved in ours["quality"].items()),
        tuple(_verdict_from_json(saved) for saved in ours["verdicts"]),
        _of_type((str, type(None)), benchmark.get("group")),
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
    low, high = saved["band"]
    domains = tuple(
        Domain(_of_type(str, domain["name"]), _of_type((str, type(None)), domain["parent"]))
        for domain in saved["domains"]
    )
    if all(domain.parent is not None for domain in domains):
        raise ValueError(f"every domain of the meter {saved['name']!r} is inside another")
    return MeterInfo(
        _of_type(str, saved["name"]),
        _one_of(get_args(Provenance), saved["provenance"]),
        domains,
        _number(saved["update_interval_s"], 0),
        _number(saved["resolution_joules"], 0),
        (_number(low, 0), _number(high, 0)),
        tuple(_of_type(str, note) for note in saved["notes"]),
        _of_type(bool, saved["ticks"]),
    )


def _is_readable(window: Window, meter: MeterInfo) -> bool:
    try:
        window_from_json(window_to_json(window), meter, fewest_calls=0)
    except _BROKEN:
        return False
    return True


def window_to_json(window: Window) -> list[Any]:
    return [window.seconds, window.joules, window.calls]


def window_from_json(saved: Any, meter: MeterInfo, fewest_calls: int) -> Window:
    seconds, joules, calls = saved
    if joules.keys() != {domain.name for domain in meter.domains}:
        raise ValueError(
            f"a window has joules of {sorted(joules)}, "
            f"but the meter counts {[domain.name for domain in meter.domains]}"
        )
    if not _number(seconds, 0) > 0 or _number(calls, fewest_calls) != int(calls):
        raise ValueError(f"a window of {seconds!r} s and {calls!r} calls")
    # Counters only go up.
    return Window(
        float(seconds), {name: _number(value, 0) for name, value in joules.items()}, int(calls)
    )


def _of_type(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind):
        expected = getattr(kind, "__name__", "str or null")
        raise TypeError(f"{value!r} is not a value of type {expected}")
    return value


def _one_of(allowed: Sequence[str], value: Any) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
    return value


def _number(value: Any, lowest: float = -math.inf) -> float:
    """A finite number. Python's json also reads NaN, Infinity and 1e999, and True is an int."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not lowest <= value
        or not abs(value) <= MAX_FLOAT
    ):
        raise ValueError(
            f"{value!r} is not a finite number"
            + (f" of {lowest} or more" if math.isfinite(lowest) else "")
        )
    return float(value)


def _interval_to_json(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {"value": interval.value, "low": _finite(interval.low), "high": _finite(interval.high)}


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN: null means unknown."""
    return value if math.isfinite(value) else None


def _quality_from_json(name: str, saved: Mapping[str, Any]) -> Quality:
    value, floor = saved["value"], saved["floor"]
    return Quality(
        name,
        math.nan if value is None else _number(value),
        None if floor is None else _number(floor),
    )


def _verdict_from_json(saved: Mapping[str, Any]) -> Verdict:
    return Verdict(
        _of_type(str, saved["metric"]),
        _one_of(get_args(VerdictName), saved["verdict"]),
        _of_type(str, saved["reason"]),
    )


def _comparison_to_json(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "baseline": comparison.baseline_name,
        "speedup": _interval_to_json(comparison.speedup),
        "greenup": _interval_to_json(comparison.greenup),
        "powerup": _interval_to_json(comparison.powerup),
        "category": comparison.category,
        "confidence": comparison.confidence,
        "blocks": [_block_to_json(block) for block in comparison.blocks],
    }


def _comparison_from_json(saved: Mapping[str, Any] | None, meter: MeterInfo) -> Comparison | None:
    if saved is None:
        return None
    blocks = tuple(_block_from_json(meter, *block) for block in saved["blocks"])
    confidence = _number(saved["confidence"])
    if not blocks or not 0 < confidence < 1:
        raise ValueError(f"a comparison of {len(blocks)} blocks at a confidence of {confidence!r}")
    # 1 - 0.99 is 0.010000000000000009.
    ratios = gps_up(blocks, meter, round(1 - confidence, 12))
    return Comparison(
        _of_type(str, saved["baseline"]),
        ratios.speedup,
        ratios.greenup,
        ratios.powerup,
        ratios.category,
        blocks,
        confidence,
    )


def _block_to_json(block: Block) -> list[Any]:
    saved = [block.order, [window_to_json(window) for window in block.windows]]
    return saved if block.replicate is None else [*saved, block.replicate]


def _block_from_json(meter: MeterInfo, order: Any, windows: Any, replicate: Any = None) -> Block:
    if _of_type(str, order) not in ORDERS or len(windows) != len(order):
        raise ValueError(f"a block {order!r} of {len(windows)} windows")
    if replicate is not None:
        _of_type(int, replicate)
    return Block(
        order,
        tuple(window_from_json(window, meter, fewest_calls=1) for window in windows),
        replicate,
    )

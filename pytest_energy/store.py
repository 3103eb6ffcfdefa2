"""A run to and from JSON: pytest-benchmark's file, with what is ours under the key ``energy``.

The keys are described by ``run.schema.json`` beside this file. Raw windows are saved; the figures beside
them are for people and other tools, and are worked out again from the windows when a run is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_energy.errors import RunUnreadable
from pytest_energy.figures import figures
from pytest_energy.machine import fingerprint
from pytest_energy.reading import (
    Block,
    Comparison,
    Domain,
    Interval,
    Measurement,
    MeterInfo,
    Quality,
    Result,
    Verdict,
    Window,
)

SCHEMA = 1
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


def top_level(meter: MeterInfo, idle: Iterable[Window]) -> dict[str, Any]:
    """What stands under ``energy`` at the top of the file."""
    return {
        "schema": SCHEMA,
        "meters": [_meter_out(meter)],
        "machine": fingerprint(),
        "idle": [_window_out(window) for window in idle],
    }


def entry(result: Result) -> dict[str, Any]:
    """What stands under ``energy`` in one benchmark's entry."""
    measurement, meter = result.measurement, result.measurement.meter
    seen = figures(measurement)
    return {
        "provenance": meter.provenance,
        "meter": meter.name,
        "joules": _interval_out(seen.joules),
        "net_joules": _interval_out(seen.net_joules),
        "watts": _interval_out(seen.watts),
        "seconds": _interval_out(seen.seconds),
        "domains": seen.domains,
        "resolution_joules": meter.resolution_joules,
        "update_interval_s": meter.update_interval_s,
        "windows": [_window_out(window) for window in measurement.windows],
        "versus": _comparison_out(result.comparison),
        "quality": {quality.name: {"value": _finite(quality.value), "floor": quality.floor} for quality in result.qualities},
        "verdicts": [{"metric": v.metric, "verdict": v.verdict, "reason": v.reason} for v in result.verdicts],
        "warnings": list(measurement.warnings),
    }


def read_run(path: str | Path) -> Run:
    """The run in a file. Raises `RunUnreadable`, naming the file and what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunUnreadable(f"{path}: cannot be read: {error}") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise RunUnreadable(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict) or "benchmarks" not in document:
        raise RunUnreadable(f"{path}: not a run of pytest-benchmark: it has no key 'benchmarks'")
    if "energy" not in document:
        raise RunUnreadable(f"{path}: a run without joules: it was saved without --energy")
    try:
        ours = document["energy"]
        if ours["schema"] != SCHEMA:
            raise RunUnreadable(f"{path}: schema {ours['schema']!r}, and this version reads {SCHEMA}")
        meters = {meter.name: meter for meter in map(_meter_in, ours["meters"])}
        idle = tuple(_window_in(window) for window in ours.get("idle", []))
        results = tuple(
            _result_in(benchmark, meters, idle) for benchmark in document["benchmarks"] if benchmark.get("energy") is not None
        )
        return Run(str(path), ours["machine"], results, document.get("commit_info", {}), document.get("datetime", ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunUnreadable(f"{path}: broken: {type(error).__name__}: {error}") from None


def _result_in(benchmark: Mapping[str, Any], meters: Mapping[str, MeterInfo], idle: tuple[Window, ...]) -> Result:
    ours = benchmark["energy"]
    measurement = Measurement(
        benchmark["fullname"],
        meters[ours["meter"]],
        tuple(_window_in(window) for window in ours["windows"]),
        idle,
        tuple(ours["warnings"]),
    )
    if not measurement.windows:
        raise ValueError(f"{benchmark['fullname']} has no windows")
    return Result(
        benchmark["fullname"],
        measurement,
        _comparison_in(ours["versus"]),
        tuple(Quality(name, _number(q["value"]), q["floor"]) for name, q in ours["quality"].items()),
        tuple(Verdict(v["metric"], v["verdict"], v["reason"]) for v in ours["verdicts"]),
        benchmark.get("group"),
    )


def _meter_out(meter: MeterInfo) -> dict[str, Any]:
    return {
        "name": meter.name,
        "provenance": meter.provenance,
        "domains": [{"name": domain.name, "parent": domain.parent} for domain in meter.domains],
        "update_interval_s": meter.update_interval_s,
        "resolution_joules": meter.resolution_joules,
        "band": list(meter.band),
        "notes": list(meter.notes),
    }


def _meter_in(saved: Mapping[str, Any]) -> MeterInfo:
    if saved["provenance"] not in ("measured", "estimated"):
        raise ValueError(f"provenance {saved['provenance']!r}")
    low, high = saved["band"]
    return MeterInfo(
        saved["name"],
        saved["provenance"],
        tuple(Domain(domain["name"], domain["parent"]) for domain in saved["domains"]),
        float(saved["update_interval_s"]),
        float(saved["resolution_joules"]),
        (float(low), float(high)),
        tuple(saved["notes"]),
    )


def _window_out(window: Window) -> list[Any]:
    return [window.seconds, window.joules, window.calls]


def _window_in(saved: Any) -> Window:
    seconds, joules, calls = saved
    if not (seconds > 0 and calls >= 0):
        raise ValueError(f"a window of {seconds!r} s and {calls!r} calls")
    return Window(float(seconds), {name: float(value) for name, value in joules.items()}, int(calls))


def _interval_out(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {"value": interval.value, "low": interval.low, "high": _finite(interval.high)}


def _interval_in(saved: Mapping[str, Any] | None) -> Interval | None:
    if saved is None:
        return None
    high = saved["high"]
    return Interval(float(saved["value"]), float(saved["low"]), math.inf if high is None else float(high))


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN: null stands for "not known"."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _comparison_out(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "baseline": comparison.baseline_name,
        "speedup": _interval_out(comparison.speedup),
        "greenup": _interval_out(comparison.greenup),
        "powerup": _interval_out(comparison.powerup),
        "category": comparison.category,
        "confidence": comparison.confidence,
        "blocks": [[block.order, [_window_out(window) for window in block.windows]] for block in comparison.blocks],
    }


def _comparison_in(saved: Mapping[str, Any] | None) -> Comparison | None:
    if saved is None:
        return None
    speedup = _interval_in(saved["speedup"])
    if speedup is None:
        raise ValueError("a comparison without a speedup")
    return Comparison(
        saved["baseline"],
        speedup,
        _interval_in(saved["greenup"]),
        _interval_in(saved["powerup"]),
        saved["category"],
        tuple(Block(order, tuple(_window_in(window) for window in windows)) for order, windows in saved["blocks"]),
        float(saved["confidence"]),
    )

"""Write and read a run as JSON: pytest-benchmark's file with this plugin's keys under ``energy``.

``run.schema.json`` beside this file describes the keys. The raw windows are the data. The figures
beside them are for people and other tools; the reader computes them again from the windows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pytest_energy.errors import RunUnreadable, RunWithoutJoules
from pytest_energy.machine import fingerprint
from pytest_energy.model import (
    ORDERS,
    Block,
    Comparison,
    Counted,
    CpuSeconds,
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
from pytest_energy.runs.json_values import UNREADABLE, finite, number, of_type, one_of, shown
from pytest_energy.runs.packed_blocks import pack_blocks, unpack_blocks
from pytest_energy.runs.software import DISTRIBUTIONS, PYTHON, software
from pytest_energy.runs.work_format import work_from_json, work_to_json
from pytest_energy.stats.gps_up import gps_up
from pytest_energy.stats.per_call import figures

# 2 added `software`, packed blocks, and a candidate's windows that are in its blocks alone.
SCHEMA = 2
READABLE_SCHEMAS = (1, 2)
SCHEMA_FILE = Path(__file__).with_name("run.schema.json")
# Quantities beyond these would overflow in ratios and sums. A machine's are far within: a year is
# 3e7 s, and a data centre's year 1e15 J.
SMALLEST, LARGEST = 1e-30, 1e30
# A real sensor's comparison has some 12 blocks: these are plain, more are packed.
MOST_PLAIN_BLOCKS = 16
# Of a window in JSON. Clocks count ns in windows of seconds; a counter's steps are coarser.
SECONDS_DIGITS, JOULES_DIGITS = 9, 7
# Decimals of CPU seconds: the kernel counts the machine's in ticks of 10 ms.
CPU_DIGITS = 3


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
        "idle": [_rounded(window) for window in idle if _is_readable(window, meter)],
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
        "windows": []
        if _are_in_blocks(measurement.windows, result.comparison)
        else [_rounded(window) for window in measurement.windows],
        "versus": _comparison_to_json(result.comparison),
        "quality": {
            quality.name: {"value": finite(quality.value), "floor": quality.floor}
            for quality in result.qualities
        },
        "verdicts": [
            {"metric": v.metric, "verdict": v.verdict, "reason": v.reason} for v in result.verdicts
        ],
        "warnings": list(measurement.warnings),
        **_work_to_json(result.counted),
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
        if ours["schema"] not in READABLE_SCHEMAS:
            raise RunUnreadable(
                f"{path}: schema {shown(ours['schema'])}; this version of pytest-energy reads "
                f"{' and '.join(map(str, READABLE_SCHEMAS))}"
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
            of_type(dict, ours["machine"]),
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
    benchmark: Mapping[str, Any], meters: Mapping[str, MeterInfo], saved_idle: list[Any]
) -> Result:
    ours, name = benchmark["energy"], of_type(str, benchmark["fullname"])
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
    comparison = _comparison_from_json(ours["versus"], meter)
    windows = tuple(window_from_json(window, meter, fewest_calls=1) for window in ours["windows"])
    if not windows and comparison is not None:
        windows = _candidate_windows(comparison)
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
            tuple(of_type(str, warning) for warning in ours["warnings"]),
        ),
        comparison,
        tuple(_quality_from_json(name, saved) for name, saved in ours["quality"].items()),
        tuple(_verdict_from_json(saved) for saved in ours["verdicts"]),
        of_type((str, type(None)), benchmark.get("group")),
        _work_from_json(ours.get("work")),
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
    low, high = saved["band"]
    domains = tuple(
        Domain(of_type(str, domain["name"]), of_type((str, type(None)), domain["parent"]))
        for domain in saved["domains"]
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
        tuple(of_type(str, note) for note in saved["notes"]),
        of_type(bool, saved["ticks"]),
    )


def _is_readable(window: Window, meter: MeterInfo) -> bool:
    try:
        window_from_json(window_to_json(window), meter, fewest_calls=0)
    except UNREADABLE:
        return False
    return True


def _are_in_blocks(windows: tuple[Window, ...], comparison: Comparison | None) -> bool:
    return comparison is not None and windows == _candidate_windows(comparison)


def _candidate_windows(comparison: Comparison) -> tuple[Window, ...]:
    return tuple(
        window
        for block in comparison.blocks
        for letter, window in zip(block.order, block.windows, strict=True)
        if letter == "B"
    )


def _rounded(window: Window) -> list[Any]:
    joules = {name: _round(value, JOULES_DIGITS) for name, value in window.joules.items()}
    seconds = _round(window.seconds, SECONDS_DIGITS)
    return window_to_json(window._replace(seconds=seconds, joules=joules))


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


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


def window_to_json(window: Window) -> list[Any]:
    saved: list[Any] = [window.seconds, window.joules, window.calls]
    return saved if window.cpu is None else [*saved, [round(s, CPU_DIGITS) for s in window.cpu]]


def window_from_json(saved: Any, meter: MeterInfo, fewest_calls: int) -> Window:
    seconds, joules, calls, *cpu = saved
    if joules.keys() != {domain.name for domain in meter.domains}:
        raise ValueError(
            f"a window has joules of {shown(sorted(joules))}, "
            f"but the meter counts {[domain.name for domain in meter.domains]}"
        )
    if not number(seconds, 0) > 0 or number(calls, fewest_calls) != int(calls):
        raise ValueError(f"a window of {shown(seconds)} s and {shown(calls)} calls")
    # Counters only go up.
    checked = {name: number(value, 0) for name, value in joules.items()}
    for name, quantity in (("s", seconds), ("calls", calls), *(("J", j) for j in checked.values())):
        if quantity and not SMALLEST <= quantity <= LARGEST:
            raise ValueError(f"a window of {shown(quantity)} {name}, which no machine measures")
    return Window(float(seconds), checked, int(calls), _cpu_from_json(cpu))


def _cpu_from_json(saved: Sequence[Any]) -> CpuSeconds | None:
    """The CPU seconds from what follows a window's calls: nothing, or a list of two."""
    if not saved:
        return None
    if len(saved) > 1:
        raise ValueError(f"a window with {len(saved)} values after its calls, such as {saved[1]}")
    own, others = of_type(list, saved[0])
    return CpuSeconds(number(own, -LARGEST, LARGEST), number(others, -LARGEST, LARGEST))


def _interval_to_json(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {"value": interval.value, "low": finite(interval.low), "high": finite(interval.high)}


def _quality_from_json(name: str, saved: Mapping[str, Any]) -> Quality:
    value, floor = saved["value"], saved["floor"]
    return Quality(
        name,
        math.nan if value is None else number(value),
        None if floor is None else number(floor),
    )


def _verdict_from_json(saved: Mapping[str, Any]) -> Verdict:
    return Verdict(
        of_type(str, saved["metric"]),
        one_of(get_args(VerdictName), saved["verdict"]),
        of_type(str, saved["reason"]),
    )


def _work_to_json(counted: Counted | None) -> dict[str, Any]:
    """``work``, if the run counted it; an earlier version reads the entry without it."""
    if counted is None or counted.candidate is None:
        return {}
    work = {"candidate": work_to_json(counted.candidate)}
    if counted.baseline is not None:
        work["baseline"] = work_to_json(counted.baseline)
    return {"work": work}


def _work_from_json(saved: Mapping[str, Any] | None) -> Counted | None:
    if saved is None:
        return None
    baseline = saved.get("baseline")
    return Counted(
        work_from_json(saved["candidate"]), None if baseline is None else work_from_json(baseline)
    )


def _items_from_json(saved: Any) -> int | None:
    if saved is None:
        return None
    items = number(saved, 1, LARGEST)
    if items != int(items):
        raise ValueError(f"{shown(saved)} items in a call")
    return int(items)


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
        "blocks": _blocks_to_json(comparison.blocks),
    }


def _comparison_from_json(saved: Mapping[str, Any] | None, meter: MeterInfo) -> Comparison | None:
    if saved is None:
        return None
    plain = unpack_blocks(saved["blocks"]) if isinstance(saved["blocks"], str) else saved["blocks"]
    blocks = tuple(_block_from_json(meter, *block) for block in plain)
    confidence = number(saved["confidence"])
    if not blocks or not 0 < confidence < 1:
        raise ValueError(f"a comparison of {len(blocks)} blocks at a confidence of {confidence!r}")
    # 1 - 0.99 is 0.010000000000000009.
    ratios = gps_up(blocks, meter, round(1 - confidence, 12))
    return Comparison(
        of_type(str, saved["baseline"]),
        ratios.speedup,
        ratios.greenup,
        ratios.powerup,
        ratios.category,
        blocks,
        confidence,
        meter,
    )


def _blocks_to_json(blocks: Sequence[Block]) -> list[Any] | str:
    if len(blocks) > MOST_PLAIN_BLOCKS:
        return pack_blocks(blocks)
    return [_block_to_json(block) for block in blocks]


def _block_to_json(block: Block) -> list[Any]:
    saved = [block.order, [_rounded(window) for window in block.windows]]
    return saved if block.replicate is None else [*saved, block.replicate]


def _block_from_json(meter: MeterInfo, order: Any, windows: Any, replicate: Any = None) -> Block:
    if of_type(str, order) not in ORDERS or len(windows) != len(order):
        raise ValueError(f"a block {order!r} of {len(windows)} windows")
    if replicate is not None:
        of_type(int, replicate)
    return Block(
        order,
        tuple(window_from_json(window, meter, fewest_calls=1) for window in windows),
        replicate,
    )

"""The record of a finished task, checked: its file may come from anybody.

All raise ValueError, with the key, for what no sweep writes. Texts come out printable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tsbench.errors import SHOWN_CHARACTERS, printable, short

# A number of a real record is far within: a year is 3e7 s.
LARGEST = 1e30
RATIOS = ("speedup", "greenup", "powerup")


def checked(record: object) -> dict[str, Any]:
    """The record, with all that `forecast` and `table` read of it checked."""
    if not isinstance(record, dict) or not isinstance(record.get("task"), dict):
        raise ValueError("not a sweep's result; remove it from this folder")
    task = {**record["task"], **_texts(record["task"], "kind", "dataset", "config", "device")}
    figures = {
        "train": lambda: _training(record, task),
        "build": lambda: {"cpu_seconds": _number(record, "cpu_seconds")},
        "measure": lambda: _measurement(record),
    }.get(task["kind"])
    if figures is None:
        raise ValueError(f"kind is {short(task['kind'])}, not train, build or measure")
    return {**record, "task": {**task, **_same(task)}, **_times(record), **figures()}


def _same(task: Mapping[str, Any]) -> dict[str, Any]:
    """By which `forecast` finds similar tasks."""
    variants = _list(task, "variants") if "variants" in task else []
    for each in variants:
        if not isinstance(each, str):
            raise ValueError(f"a variant is {_shown(each)}, not a text")
    numbers = ("epochs", "batch_cases", "max_time_s")
    return {"variants": variants, **{key: _known_number(task, key) for key in numbers}}


def _times(record: Mapping[str, Any]) -> dict[str, float | None]:
    times = {key: _known_number(record, key) for key in ("started_s", "ended_s")}
    started_s, ended_s = times.values()
    if started_s is not None and ended_s is not None and ended_s < started_s:
        raise ValueError(f"it ended at {ended_s:g} s, before it started at {started_s:g} s")
    return times


def _training(record: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    _number(task, "epochs")
    joules = _known_number(record, "joules")
    return {
        "cpu_seconds": _number(record, "cpu_seconds"),
        "joules": joules,
        **({} if joules is None else _texts(record, "provenance")),
    }


def _measurement(record: Mapping[str, Any]) -> dict[str, Any]:
    machine = _table(record, "fingerprint")
    cores = _known_number(machine, "cores")
    return {
        "fingerprint": {**_texts(machine, "cpu"), "cores": None if cores is None else int(cores)},
        **_texts(record, "meter"),
        "rows": [_row(row) for row in _list(record, "rows")],
    }


def _row(row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"a row is {_shown(row)}, not an object")
    return {
        **row,
        **_texts(row, "variant", "provenance"),
        "batch": int(_number(row, "batch")),
        "joules_per_inference": _known_number(row, "joules_per_inference"),
        "accuracy": _number(row, "accuracy"),
        **{key: _ratio(row, key) for key in RATIOS},
    }


def _ratio(row: Mapping[str, Any], key: str) -> dict[str, float | None] | None:
    if row.get(key) is None:
        return None
    ratio = _table(row, key)
    bounds = {bound: _known_number(ratio, bound) for bound in ("low", "high")}
    return {"value": _number(ratio, "value"), **bounds}


def _texts(holder: Mapping[str, Any], *keys: str) -> dict[str, str]:
    for key in keys:
        if not isinstance(holder.get(key), str):
            raise ValueError(f"{key} is {_shown(holder.get(key))}, not a text")
    return {key: printable(holder[key]) for key in keys}


def _table(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {_shown(value)}, not an object")
    return value


def _list(holder: Mapping[str, Any], key: str) -> list[Any]:
    value = holder.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is {_shown(value)}, not a list")
    return value


def _known_number(holder: Mapping[str, Any], key: str) -> float | None:
    return None if holder.get(key) is None else _number(holder, key)


def _number(holder: Mapping[str, Any], key: str) -> float:
    value: Any = holder.get(key)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= LARGEST:
        raise ValueError(f"{key} is {_shown(value)}, not a number from 0 to {LARGEST:g}")
    return float(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"

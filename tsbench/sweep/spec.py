"""A sweep's TOML file, checked before anything starts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tsbench.errors import TsbenchError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = "any"  # the device name that matches every machine


@dataclass(frozen=True)
class Spec:
    """Each combination of the lists is one task. Without variants nothing is measured."""

    datasets: tuple[str, ...]
    configs: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    variants: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 32)
    devices: tuple[str, ...] = (HERE,)
    epochs: int | None = None  # instead of the recipe's
    max_time_s: float = 5.0  # for each comparison
    meter: str = "auto"
    task_limit_s: float = 6 * 3600.0  # a task that takes longer is ended, and failed


def read(path: Path) -> Spec:
    """The spec in the file. Raises TsbenchError, in one line, if it is invalid."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:  # neither UTF-8 nor TOML is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TsbenchError(f"{path}: cannot be read as TOML: {reason}") from None
    known = [field.name for field in fields(Spec)]
    for key in found:
        if key not in known:
            raise TsbenchError(f"{path}: unknown key {key!r}; known: {', '.join(known)}")
    values: dict[str, Any] = {}
    for key, kind, least in (
        ("datasets", str, None),
        ("configs", str, None),
        ("seeds", int, 0),
        ("variants", str, None),
        ("batches", int, 1),
        ("devices", str, None),
    ):
        if key in found:
            values[key] = _list(path, key, found[key], kind, least)
    for key in ("datasets", "configs"):
        if not values.get(key):
            raise TsbenchError(f"{path}: {key} must be a list of at least one name")
    for key in ("seeds", "batches", "devices"):
        if key in values and not values[key]:
            raise TsbenchError(f"{path}: {key} must not be empty; omit it for its default")
    if "epochs" in found:
        values["epochs"] = _list(path, "epochs", [found["epochs"]], int, 1)[0]
    for key in ("max_time_s", "task_limit_s"):
        if key in found:
            values[key] = _seconds(path, key, found[key])
    if "meter" in found:
        values["meter"] = _list(path, "meter", [found["meter"]], str, None)[0]
    return Spec(**values)


def _seconds(path: Path, key: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:  # type: ignore[operator]
        raise TsbenchError(f"{path}: {key} must be more than 0 seconds, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def _list(path: Path, key: str, value: object, kind: type, least: int | None) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TsbenchError(f"{path}: {key} must be a list, got {value!r}")
    for each in value:
        if not isinstance(each, kind) or isinstance(each, bool):
            raise TsbenchError(
                f"{path}: {key} must contain {'names' if kind is str else 'whole numbers'}, "
                f"got {each!r}"
            )
        if least is not None and isinstance(each, int) and each < least:
            raise TsbenchError(f"{path}: {key} must be at least {least}, got {each}")
    return tuple(dict.fromkeys(value))

"""thresholds.toml, read and checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsbench import variants
from tsbench.model import CONFIGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("thresholds.toml")


@dataclass(frozen=True)
class Expected:
    """What a variant must reach on one dataset, with one config, at one batch size."""

    accuracy: float  # the floor on the whole test split
    ratio: float | None  # of Speedup and Greenup alike; None for regressions only


@dataclass(frozen=True)
class Thresholds:
    """The content of the file. `expected` has keys (dataset, config, variant, batch size)."""

    machine: str
    batches: tuple[int, ...]
    core: tuple[str, ...]
    expected: Mapping[tuple[str, str, str, int], Expected]

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """The datasets and configs that the suite runs without options."""
        return tuple(dict.fromkeys((dataset, config) for dataset, config, _, _ in self.expected))


def read(path: Path = FILE) -> Thresholds:
    """The thresholds in the file. Raises ValueError, with the key, for anything unknown."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf8"))
    except RecursionError:
        raise ValueError(f"{FILE.name}: tables or lists are nested too deeply") from None
    top = _table(path.name, content, ("machine", "batches", "core", "models"))
    for key in ("batches", "core"):
        _require(isinstance(top[key], list), key, "a list")
    batches = tuple(top["batches"])
    _require(all(type(b) is int and b > 0 for b in batches), "batches", "whole numbers above 0")
    known = variants.names()
    for name in top["core"]:
        _require(name in known, f"core: {name}", f"one of {', '.join(known)}")
    expected = {}
    for dataset, configs in _anything("models", top["models"]).items():
        for config, rows in _anything(f"models.{dataset}", configs).items():
            _require(config in CONFIGS, f"{dataset}.{config}", f"one of {', '.join(CONFIGS)}")
            for variant, row in _anything(f"{dataset}.{config}", rows).items():
                key = f"{dataset}.{config}.{variant}"
                _require(variant in known, key, f"one of {', '.join(known)}")
                for batch_cases, each in _expected(key, row, batches).items():
                    expected[dataset, config, variant, batch_cases] = each
    return Thresholds(str(top["machine"]), batches, tuple(top["core"]), expected)


def _expected(key: str, row: object, batches: tuple[int, ...]) -> dict[int, Expected]:
    found = _table(key, row, ("accuracy",), optional=("ratio",))
    accuracy = found["accuracy"]
    _require(isinstance(accuracy, float) and 0 < accuracy < 1, f"{key}.accuracy", "between 0 and 1")
    if "ratio" not in found:
        return {batch_cases: Expected(accuracy, None) for batch_cases in batches}
    ratios = _table(f"{key}.ratio", found["ratio"], tuple(map(str, batches)))
    for name, ratio in ratios.items():
        sound = isinstance(ratio, int | float) and not isinstance(ratio, bool)
        fits = sound and 0 < ratio <= sys.float_info.max
        _require(fits, f"{key}.ratio.{name}", "a number above 0")
    return {int(name): Expected(accuracy, float(ratio)) for name, ratio in ratios.items()}


def _table(
    key: str, value: object, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The table, if it has all required keys and no unknown ones."""
    table = _anything(key, value)
    for name in required:
        _require(name in table, f"{key}.{name}", "present")
    for name in table:
        _require(name in required + optional, f"{key}.{name}", "left out: it is unknown")
    return table


def _anything(key: str, value: object) -> dict[str, Any]:
    """The table, whatever its keys are."""
    if not isinstance(value, dict):
        raise ValueError(f"{FILE.name}: {key} must be a table")
    return value


def _require(holds: bool, key: str, what: str) -> None:
    if not holds:
        raise ValueError(f"{FILE.name}: {key} must be {what}")

"""thresholds.toml, read and checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tsbench import variants
from tsbench.model import CONFIGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# By the instructions that int8 products take: with VNNI, or AVX2 alone.
CPU_KINDS = ("vnni", "avx2")
FILE = Path(__file__).with_name("thresholds.toml")


@dataclass(frozen=True)
class Expected:
    """What a variant must reach on one dataset, with one config, at one batch size."""

    accuracy: float
    """The floor on the whole test split."""
    ratios: Mapping[str, float]
    """Of Speedup and Greenup alike, by the kind of CPU; empty for regressions only."""

    @property
    def ratio(self) -> float | None:
        """On this machine's CPU; None if none was set for its kind."""
        return self.ratios.get(cpu_kind())


@dataclass(frozen=True)
class Thresholds:
    """The content of the file. `expected` has keys (dataset, config, variant, batch size)."""

    machines: Mapping[str, str]
    """The machine that the ratios were set on, by its kind of CPU."""
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
    top = _table(path.name, content, ("machines", "suite", "models"))
    machines = _table("machines", top["machines"], CPU_KINDS)
    suite = _table("suite", top["suite"], ("batches", "core"))
    for key in ("batches", "core"):
        _require(isinstance(suite[key], list), f"suite.{key}", "a list")
    batches = tuple(suite["batches"])
    whole = all(type(b) is int and b > 0 for b in batches)
    _require(whole, "suite.batches", "whole numbers above 0")
    known = variants.names()
    for name in suite["core"]:
        _require(name in known, f"suite.core: {name}", f"one of {', '.join(known)}")
    expected = {}
    for dataset, configs in _anything("models", top["models"]).items():
        for config, rows in _anything(f"models.{dataset}", configs).items():
            _require(config in CONFIGS, f"{dataset}.{config}", f"one of {', '.join(CONFIGS)}")
            for variant, row in _anything(f"{dataset}.{config}", rows).items():
                key = f"{dataset}.{config}.{variant}"
                _require(variant in known, key, f"one of {', '.join(known)}")
                for batch_cases, each in _expected(key, row, batches).items():
                    expected[dataset, config, variant, batch_cases] = each
    return Thresholds(machines, batches, tuple(suite["core"]), expected)


def _expected(key: str, row: object, batches: tuple[int, ...]) -> dict[int, Expected]:
    found = _table(key, row, ("accuracy",), optional=CPU_KINDS)
    accuracy = found.pop("accuracy")
    _require(isinstance(accuracy, float) and 0 < accuracy < 1, f"{key}.accuracy", "between 0 and 1")
    ratios: dict[int, dict[str, float]] = {batch_cases: {} for batch_cases in batches}
    for kind, row_of_kind in found.items():
        of_kind = _table(f"{key}.{kind}", row_of_kind, tuple(map(str, batches)))
        for name, ratio in of_kind.items():
            sound = isinstance(ratio, int | float) and not isinstance(ratio, bool)
            fits = sound and 0 < ratio <= sys.float_info.max
            _require(fits, f"{key}.{kind}.{name}", "a number above 0")
            ratios[int(name)][kind] = float(ratio)
    return {batch_cases: Expected(accuracy, each) for batch_cases, each in ratios.items()}


@cache
def cpu_kind() -> str:
    """This machine's kind of CPU, of `CPU_KINDS`; "" if it is none of them."""
    import torch

    if torch.cpu._is_vnni_supported():
        return "vnni"
    return "avx2" if torch.cpu._is_avx2_supported() else ""


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

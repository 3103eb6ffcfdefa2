"""Ways of making a trained model cheaper to run, one file a technique.

A variant is a function from a trained model, the data and a batch size to a new callable
from x (batch, in_channels, timepoints) to logits (batch, n_classes). It never changes the
model that it is given, and shares no memory with it. What it needs and does not find is a
VariantUnavailable with the remedy.

Some have settings, with defaults: `get("depth")` removes half of the layers and trains the rest again,
`get("depth@removed=0.25,tuned=no")` a quarter, without. To `make` they are keyword arguments.

A variant is found through the entry-point group `tsbench.variants`, ours like anybody's: a
file here defines `VARIANT`, and a line in pyproject.toml names it. A package of somebody
else's does the same, and its variant is then benchmarked and measured beside ours::

    [project.entry-points."tsbench.variants"]
    int4 = "theirs.int4:VARIANT"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from tsbench.errors import BadSetting, UnknownName, VariantUnavailable

if TYPE_CHECKING:  # so that listing the variants loads no torch
    from importlib.metadata import EntryPoint

    from torch import Tensor

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

    Classify = Callable[[Tensor], Tensor]

YES_NO = {"yes": True, "no": False}
ENTRY_POINT_GROUP = "tsbench.variants"
# What tables and benchmarks show first to last; what is not named here comes after, by name.
ORDER = (
    "fp32",
    "int8_dynamic",
    "int8_static",
    "int8_qat",
    "bf16",
    "l1_unstructured",
    "l2_unstructured",
    "global_magnitude",
    "layerwise_magnitude",
    "l1_structured",
    "depth",
    "compiled",
    "onnx_fp32",
    "onnx_int8_dynamic",
    "onnx_int8_static",
    "openvino_fp32",
    "openvino_bf16",
    "openvino_int8",
    "l1_structured_int8",
    "depth_int8",
    "l1_int8_static",
    "student",
    "student_openvino_bf16",
)


@dataclass(frozen=True)
class Variant:
    """A technique: what it is called, what it does in a line, what it needs, how it is made.

    `needs` are names of packages, as pip knows them, or of programs. `check()` raises
    VariantUnavailable where something is missing. `make(model, data, batch_cases, **settings)`
    gives the callable. A setting is a share from 0 to 1, or yes or no.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    check: Callable[[], None]
    make: Callable[..., Classify]
    settings: Mapping[str, float | bool] = field(default_factory=dict)

    def build(self, model: Classifier, data: Prepared, batch_cases: int) -> Classify:
        """The compressed model, for batches of exactly `batch_cases` cases."""
        self.check()
        return self.make(model, data, batch_cases, **self.settings)


def names() -> tuple[str, ...]:
    """The names of all variants that are installed: the baseline, ours, other people's."""
    return tuple(_installed(tuple(sys.path)))


def get(name: str) -> Variant:
    """The variant of that name, with the settings after its @.

    Raises UnknownName, BadSetting, and VariantUnavailable where its package cannot be imported.
    """
    technique, at, settings = name.partition("@")
    installed = _installed(tuple(sys.path))
    if technique not in installed:
        raise UnknownName("variant", technique, installed)
    variant = _load(installed[technique])
    if not at:
        return variant
    return replace(variant, name=name, settings={**variant.settings, **_parsed(variant, settings)})


def _load(point: EntryPoint) -> Variant:
    remedy = f"mend or uninstall the package that registers it in {ENTRY_POINT_GROUP}"
    try:
        variant = point.load()
    except (ImportError, AttributeError) as error:
        raise VariantUnavailable(
            point.name, f"it cannot be loaded from {point.value}: {error}", remedy
        ) from None
    if not isinstance(variant, Variant):
        raise VariantUnavailable(
            point.name, f"{point.value} is of type {type(variant).__name__}, not Variant", remedy
        )
    return variant


@cache
def _installed(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Entry points by name, in order, none of them loaded. Ours win over others of the same name."""
    from importlib.metadata import entry_points

    def place(point: EntryPoint) -> tuple[bool, int, str]:
        theirs = not point.value.startswith(f"{__name__}.")
        return theirs, ORDER.index(point.name) if point.name in ORDER else len(ORDER), point.name

    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=place):
        found.setdefault(point.name, point)
    return found


def _parsed(variant: Variant, text: str) -> dict[str, float | bool]:
    """The settings in `key=value,key=value`."""
    found: dict[str, float | bool] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in variant.settings:
            known = ", ".join(variant.settings) or "none"
            raise BadSetting(variant.name, f"no setting {key!r}; it has: {known}")
        if isinstance(variant.settings[key], bool):
            if value not in YES_NO:
                raise BadSetting(variant.name, f"{key} must be yes or no, got {value!r}")
            found[key] = YES_NO[value]
        else:
            found[key] = _share(variant.name, key, value)
    return found


def _share(variant: str, key: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadSetting(variant, f"{key} must be a share from 0 to 1, got {text!r}")
    return share


def needs_nothing() -> None:
    """The `check` of a variant that torch alone can make."""

"""Ways of making a trained model cheaper to run, one file a technique.

A variant is a function from a trained model, the data and a batch size to a new callable
from x (batch, in_channels, timepoints) to logits (batch, n_classes). It never changes the
model that it is given, and shares no memory with it. What it needs and does not find is a
VariantUnavailable with the remedy.

Some have settings, with defaults: `get("depth")` removes half of the layers and fine-tunes,
`get("depth@removed=0.25,tuned=no")` a quarter, without. To `make` they are keyword arguments.

A file here defines `VARIANT`; to add a technique, add a file and its name to `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING

from tsbench.errors import BadSetting, UnknownName

if TYPE_CHECKING:  # so that listing the variants loads no torch
    from torch import Tensor

    from tsbench.model import Classifier
    from tsbench.train import Prepared

    Classify = Callable[[Tensor], Tensor]

_MODULES = (
    "fp32", "bf16", "int8_dynamic", "int8_static", "int8_qat",
    "l1_unstructured", "l2_unstructured", "layerwise_magnitude", "global_magnitude", "l1_structured", "depth",
    "l1_structured_int8", "depth_int8", "l1_int8_static",
)
YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True)
class Variant:
    """A technique: what it is called, what it does in a line, what it needs, how it is made.

    `make(model, data, batch_cases, **settings)` gives the callable; `check()` raises VariantUnavailable
    where something is missing, and is called by `build` first. A setting is a share from 0 to 1,
    or yes or no.
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
    """The names of all variants, the baseline first."""
    return _MODULES


def get(name: str) -> Variant:
    """The variant of that name, with the settings after its @. Raises UnknownName and BadSetting."""
    technique, _, settings = name.partition("@")
    if technique not in _MODULES:
        raise UnknownName("variant", technique, _MODULES)
    variant = import_module(f"tsbench.variants.{technique}").VARIANT
    if "@" not in name:
        return variant
    return replace(variant, name=name, settings={**variant.settings, **_parsed(variant, settings)})


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

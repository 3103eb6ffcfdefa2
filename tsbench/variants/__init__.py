"""Ways of making a trained model cheaper to run.

A variant is a function from a `Source` (a module, one batch of inputs, calibration batches and
perhaps a way to train again; source.py) to a callable with the model's own inputs and outputs. It
never changes the given model and shares no memory with it. If something it requires is missing,
it raises VariantUnavailable with the remedy.

Some variants have settings. `get("depth")` removes half of the layers and retrains the others;
`get("depth@removed=0.25,tuned=no")` removes a quarter and does not retrain. `make` receives
settings as keyword arguments.

`BUILT_IN` registers those of tsbench. Another package registers its own through the entry-point
group `tsbench.variants`, and they are benchmarked and measured like those of tsbench::

    [project.entry-points."tsbench.variants"]
    int4 = "theirs.int4:VARIANT"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from tsbench import requirements
from tsbench.errors import BadSetting, UnknownName, VariantUnavailable

if TYPE_CHECKING:  # listing the variants must not import torch
    from torch import Tensor

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants.built import Built
    from tsbench.variants.source import Source

    Classify = Callable[[Tensor], Tensor]

# Models that were trained, with no setting that says so.
TRAINED = ("int8_qat", "student", "student_openvino_bf16")
YES_NO = {"yes": True, "no": False}
ENTRY_POINT_GROUP = "tsbench.variants"
# Name: module and attribute here. Tables and benchmarks show them in this order, others after.
BUILT_IN = {
    "fp32": "fp32:VARIANT",
    "int8_dynamic": "int8_dynamic:VARIANT",
    "int8_static": "int8_static:VARIANT",
    "int8_qat": "int8_qat:VARIANT",
    "bf16": "bf16:VARIANT",
    "l1_unstructured": "unstructured:L1_UNSTRUCTURED",
    "l2_unstructured": "unstructured:L2_UNSTRUCTURED",
    "global_magnitude": "unstructured:GLOBAL_MAGNITUDE",
    "layerwise_magnitude": "unstructured:LAYERWISE_MAGNITUDE",
    "l1_structured": "l1_structured:VARIANT",
    "depth": "depth:VARIANT",
    "compiled": "compiled:VARIANT",
    "onnx_fp32": "onnx_runtime:FP32",
    "onnx_int8_dynamic": "onnx_runtime:INT8_DYNAMIC",
    "onnx_int8_static": "onnx_runtime:INT8_STATIC",
    "openvino_fp32": "openvino_engine:FP32",
    "openvino_bf16": "openvino_engine:BF16",
    "openvino_int8": "openvino_engine:INT8",
    "l1_structured_int8": "pruned_int8:L1_STRUCTURED_INT8",
    "depth_int8": "pruned_int8:DEPTH_INT8",
    "l1_int8_static": "pruned_int8:L1_INT8_STATIC",
    "student": "student:ONNX_RUNTIME",
    "student_openvino_bf16": "student:OPENVINO_BF16",
}


@dataclass(frozen=True)
class Variant:
    """A technique: its name, a summary of one line, what it requires, and how it is made.

    `requirements` are names of packages, as pip knows them, or of programs. `make(source,
    **settings)` returns a callable, or a `Built` that also knows its price. A setting is a share
    from 0 to 1, yes or no, or a text. `check_machine(name)` raises VariantUnavailable if this
    machine cannot run it for a reason other than a missing requirement. `same_function` claims
    that it computes what the model does, which building then checks. `of_files` are the
    requirements for an .onnx file, if it takes one.
    """

    name: str
    summary: str
    requirements: tuple[str, ...]
    make: Callable[..., Built | Callable[..., Any]]
    settings: Mapping[str, float | bool | str] = field(default_factory=dict)
    check_machine: Callable[[str], None] | None = None
    same_function: bool = False
    of_files: tuple[str, ...] = ()

    @property
    def approximates(self) -> bool:
        """Whether it is the model itself, rounded or rewritten, and not trained again."""
        return self.settings.get("tuned") is not True and self.name not in TRAINED

    def check(self, of_file: bool = False) -> None:
        """Raises VariantUnavailable, with the remedy, if the variant cannot run here."""
        requirements.require(self.name, self.of_files if of_file else self.requirements)
        if self.check_machine is not None:
            self.check_machine(self.name)

    def apply(self, source: Source) -> Built:
        """The compressed model, for exactly the source's shapes of inputs.

        Raises VariantUnavailable if it cannot run here, or is not the function that it claims, and
        whatever else a technique raises for a model that it cannot take.
        """
        from tsbench.variants.built import Built
        from tsbench.variants.source import FileSource

        of_file = isinstance(source, FileSource)
        if of_file and not self.of_files:
            raise VariantUnavailable(
                self.name, "it takes a module, not an .onnx file", "use another technique"
            )
        self.check(of_file)
        made = self.make(source, **self.settings)
        built = made if isinstance(made, Built) else Built(made)
        if self.same_function:
            from tsbench.variants.parity import require_parity

            require_parity(self.name, built.call, source)
        return built

    def build(self, model: Classifier, data: Prepared, batch_cases: int) -> Classify:
        """A compressed classifier of this package, for batches of exactly `batch_cases` cases."""
        from tsbench.variants.classifier import of_classifier

        return self.apply(of_classifier(model, data, batch_cases)).call


def names() -> tuple[str, ...]:
    """The names of all installed variants: the baseline, tsbench's, other packages'."""
    return tuple(_installed(tuple(sys.path)))


def get(name: str) -> Variant:
    """The variant of this name, with the settings after its @.

    Raises UnknownName, BadSetting, or VariantUnavailable if its package cannot be imported.
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
    remedy = f"fix or uninstall the package that registers it in {ENTRY_POINT_GROUP}"
    try:
        variant = point.load()
    except (ImportError, AttributeError) as error:
        raise VariantUnavailable(
            point.name, f"{point.value} cannot be loaded: {error}", remedy
        ) from None
    if not isinstance(variant, Variant):
        raise VariantUnavailable(
            point.name, f"{point.value} is of type {type(variant).__name__}, not Variant", remedy
        )
    return variant


@cache
def _installed(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Entry points by name, in order, none loaded. No package can replace a variant of tsbench."""
    from importlib.metadata import entry_points

    found = {
        name: EntryPoint(name, f"{__name__}.{where}", ENTRY_POINT_GROUP)
        for name, where in BUILT_IN.items()
    }
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        found.setdefault(point.name, point)
    return found


def _parsed(variant: Variant, text: str) -> dict[str, float | bool | str]:
    """The settings in `key=value,key=value`."""
    found: dict[str, float | bool | str] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in variant.settings:
            known = ", ".join(variant.settings) or "none"
            raise BadSetting(variant.name, f"no setting {key!r}; it has: {known}")
        if isinstance(variant.settings[key], bool):
            if value not in YES_NO:
                raise BadSetting(variant.name, f"{key} must be yes or no, got {value!r}")
            found[key] = YES_NO[value]
        elif isinstance(variant.settings[key], str):
            found[key] = value
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

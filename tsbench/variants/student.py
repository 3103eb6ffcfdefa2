"""A much smaller transformer in the model's place, trained for the same task.

The dataset's plan chooses which (recipes.py): fewer layers, heads and tokens, and a stem that
fits the data. It is trained on the same cases, and takes nothing from the model it replaces.

OpenVINO in bf16 is faster than ONNX Runtime at 32 cases a batch, and slower at one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, _onnx_export, _openvino, onnx_runtime, openvino_engine
from tsbench.variants.parity import require_parity

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants.built import Built
    from tsbench.variants.source import Source


def compact_model(data: Prepared) -> Classifier:
    """The dataset's compact model: shipped, cached, or trained now."""
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import plan_of

    return trained_model(data, plan_of(data.name).compact)


def make_onnx_runtime(source: Source) -> Built:
    """The compact model on ONNX Runtime, for exactly this batch size."""
    compact = source.of(compact_model(source.dataset))
    built = onnx_runtime.make_fp32(compact)
    require_parity("student", built.call, compact)
    return built


def make_openvino_bf16(source: Source) -> Built:
    """The compact model on OpenVINO, for exactly this batch size."""
    return openvino_engine.make_bf16(source.of(compact_model(source.dataset)))


ONNX_RUNTIME = Variant(
    "student",
    "a compact transformer instead, on ONNX Runtime",
    _onnx_export.REQUIREMENTS,
    make_onnx_runtime,
)
OPENVINO_BF16 = Variant(
    "student_openvino_bf16",
    "a compact transformer instead, on OpenVINO, bf16",
    ("torch", "openvino"),
    make_openvino_bf16,
    check_machine=_openvino.check_bf16,
)

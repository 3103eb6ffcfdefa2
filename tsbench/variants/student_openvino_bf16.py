"""The student on OpenVINO in bf16: faster than on ONNX Runtime with 32 cases a batch, slower with one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.variants import Variant, _openvino

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME, NEEDS = "student_openvino_bf16", ("torch", "openvino")


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The dataset's compact model on OpenVINO, for exactly this batch size. Trains it where there is none yet."""
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import compact_for

    return _openvino.request(
        _openvino.converted(trained_model(data, compact_for(data.name)), data, batch_cases), "bf16"
    )


VARIANT = Variant(
    NAME,
    "a compact transformer in its place, on OpenVINO, bf16",
    NEEDS,
    partial(_openvino.check_bf16, NAME, NEEDS),
    make,
)

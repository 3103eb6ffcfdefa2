"""OpenVINO in bf16, its own choice on a CPU that has it: weights stay fp32 in the file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.variants import Variant, _openvino

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME, NEEDS = "openvino_bf16", ("torch", "openvino")


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model on OpenVINO, for exactly this batch size."""
    return _openvino.request(_openvino.converted(model, data, batch_cases), "bf16")


VARIANT = Variant(NAME, "OpenVINO, bf16", NEEDS, partial(_openvino.check_bf16, NAME, NEEDS), make)

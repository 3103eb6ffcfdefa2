"""OpenVINO, fp32."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.requirements import require
from tsbench.variants import Variant, _openvino

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME, NEEDS = "openvino_fp32", ("torch", "openvino")


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model on OpenVINO, for exactly this batch size."""
    # Said, because OpenVINO calculates in bf16 by itself wherever the CPU can.
    return _openvino.request(_openvino.converted(model, data, batch_cases), "f32")


VARIANT = Variant(NAME, "OpenVINO, fp32", NEEDS, partial(require, NAME, NEEDS), make)

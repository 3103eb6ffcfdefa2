"""ONNX Runtime, fp32: the same arithmetic with fused operators and no Python between them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.requirements import require
from tsbench.variants import Variant, _onnx

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME = "onnx_fp32"


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model on ONNX Runtime, for exactly this batch size."""
    return _onnx.session(_onnx.exported_to_run(model, data, batch_cases))


VARIANT = Variant(
    NAME, "ONNX Runtime, fp32", _onnx.NEEDS, partial(require, NAME, _onnx.NEEDS), make
)

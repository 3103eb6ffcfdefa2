"""ONNX Runtime's own dynamic quantization of the unmodified model: what a user would pick today.

`quantize_dynamic` on the matrix products. Its default quantizes the convolutions of the stem, too,
and was slower and less accurate by it on PLAID's T1 (3.5x against 4.5x at batch 1, 1.17x against
1.55x at batch 32, .888 against .892): what others are compared with is the better of the two.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tsbench.requirements import require
from tsbench.variants import Variant, _onnx

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME = "onnx_int8_dynamic"
QUANTIZED_OPERATORS = ["MatMul"]  # which quantize_dynamic turns Gemm into first


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The quantized model on ONNX Runtime, for exactly this batch size."""
    fp32 = _onnx.exported(model, data, batch_cases)

    def quantize(path: Path) -> None:
        from onnxruntime.quantization import quantize_dynamic

        with _onnx.quiet():
            quantize_dynamic(fp32, path, op_types_to_quantize=QUANTIZED_OPERATORS)

    return _onnx.session(_onnx.cached("int8_dynamic", quantize, model, data, batch_cases))


VARIANT = Variant(
    NAME,
    "ONNX Runtime, int8 weights, activations quantized on each call",
    _onnx.NEEDS,
    partial(require, NAME, _onnx.NEEDS),
    make,
)

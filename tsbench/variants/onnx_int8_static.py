"""ONNX Runtime, int8 with scales from calibration.

Only products with weights are quantized. Attention's products of two activations stay in fp32:
with them PLAID's T1 was slower than not quantized at all (0.77x of onnx_fp32 at batch 1, 0.74x at
batch 32; without them 1.07x to 1.12x), and with every operator that ONNX Runtime can quantize slower
still (0.62x and 0.68x) and half a point less accurate.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tsbench.requirements import require
from tsbench.variants import Variant, _onnx

if TYPE_CHECKING:
    import numpy as np

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME = "onnx_int8_static"
QUANTIZED_OPERATORS = ["MatMul", "Gemm"]


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The quantized model on ONNX Runtime, for exactly this batch size."""
    from tsbench.variants.int8_static import CALIBRATION_CASES

    fp32 = _onnx.exported(model, data, batch_cases)
    path = _onnx.cached(
        "int8_static",
        lambda path: _quantize(fp32, path, data, batch_cases),
        model,
        data,
        batch_cases,
        calibration_cases=CALIBRATION_CASES,
    )
    return _onnx.session(path)


def _quantize(fp32: Path, path: Path, data: Prepared, batch_cases: int) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    from tsbench.variants.int8_static import calibration_batches

    class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime gives no types
        """Feeds calibration batches, then None."""

        def __init__(self) -> None:
            self.batches = calibration_batches(data, batch_cases)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {_onnx.INPUT: batch}

    with _onnx.quiet():
        quantize_static(
            fp32,
            path,
            Calibration(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED_OPERATORS,
            # x86's int8 dot product takes unsigned activations and signed weights.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=products_of_activations(fp32),
        )


def products_of_activations(path: Path) -> list[str]:
    """The names of the matrix products of which no side is a weight."""
    import onnx

    graph = onnx.load(path).graph
    weights = {weight.name for weight in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and not weights & set(node.input)
    ]


VARIANT = Variant(
    NAME,
    "ONNX Runtime, int8 weights and activations, calibrated",
    _onnx.NEEDS,
    partial(require, NAME, _onnx.NEEDS),
    make,
)

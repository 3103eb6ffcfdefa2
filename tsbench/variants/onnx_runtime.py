"""ONNX Runtime: fp32, and its own dynamic and static quantization.

int8_dynamic is what a user would try first: `quantize_dynamic` of the unmodified model, for
matrix products only. With its default, convolutions too, PLAID's T1 was slower (3.5 instead of
4.5 times at batch 1, 1.17 instead of 1.55 at batch 32) and less accurate (.888 instead of .892).

int8_static quantizes products with weights only. With attention's products of two activations
too, PLAID's T1 was slower than not quantized at all (0.77 times onnx_fp32 at batch 1, 0.74 at
batch 32; without them 1.07 to 1.12).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tsbench.variants import Variant, _onnx_export
from tsbench.variants._onnx_export import REQUIREMENTS
from tsbench.variants.calibration import CALIBRATION_CASES, calibration_batches

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

THREADS = 1  # as the baseline; a second one doubles the CPU time at batch 1
DYNAMIC_OPERATORS = ["MatMul"]  # quantize_dynamic first turns each Gemm into MatMul and Add
STATIC_OPERATORS = ["MatMul", "Gemm"]


def session(path: Path) -> Classify:
    """The file's model on ONNX Runtime. Each call returns logits in new memory."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def classify(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(loaded.run(None, {_onnx_export.INPUT: x.contiguous().numpy()})[0])

    return classify


def make_fp32(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model in fp32, for exactly this batch size."""
    return session(_onnx_export.exported_to_run(model, data, batch_cases))


def make_int8_dynamic(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model with int8 weights; each call quantizes the activations."""
    fp32 = _onnx_export.exported(model, data, batch_cases)

    def quantize(path: Path) -> None:
        from onnxruntime.quantization import quantize_dynamic

        with _onnx_export.quiet():
            quantize_dynamic(fp32, path, op_types_to_quantize=DYNAMIC_OPERATORS)

    return session(_onnx_export.cached("int8_dynamic", quantize, model, data, batch_cases))


def make_int8_static(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model with int8 weights and activations, its scales from calibration cases."""
    fp32 = _onnx_export.exported(model, data, batch_cases)
    path = _onnx_export.cached(
        "int8_static",
        lambda path: quantize_static(fp32, path, data, batch_cases),
        model,
        data,
        batch_cases,
        calibration_cases=CALIBRATION_CASES,
    )
    return session(path)


def quantize_static(fp32: Path, path: Path, data: Prepared, batch_cases: int) -> None:
    """Writes the file's model to `path`, quantized."""
    from onnxruntime import quantization

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        """Yields calibration batches, then None."""

        def __init__(self) -> None:
            self.batches = calibration_batches(data, batch_cases)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {_onnx_export.INPUT: batch}

    with _onnx_export.quiet():
        quantization.quantize_static(
            fp32,
            path,
            Calibration(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=STATIC_OPERATORS,
            # x86's int8 dot product takes unsigned activations and signed weights.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=products_of_activations(fp32),
        )


def products_of_activations(path: Path) -> list[str]:
    """The names of the matrix products that have no weight."""
    import onnx

    graph = onnx.load(path).graph
    weights = {weight.name for weight in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and not weights & set(node.input)
    ]


FP32 = Variant("onnx_fp32", "ONNX Runtime, fp32", REQUIREMENTS, make_fp32, same_function=True)
INT8_DYNAMIC = Variant(
    "onnx_int8_dynamic",
    "ONNX Runtime, int8 weights, activations quantized on each call",
    REQUIREMENTS,
    make_int8_dynamic,
)
INT8_STATIC = Variant(
    "onnx_int8_static",
    "ONNX Runtime, int8 weights and activations, calibrated",
    REQUIREMENTS,
    make_int8_static,
)

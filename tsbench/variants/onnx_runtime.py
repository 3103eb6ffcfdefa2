"""ONNX Runtime: fp32, and its own dynamic and static quantization.

int8_dynamic is what a user would try first: `quantize_dynamic` of the unmodified model. It
quantizes convolutions too, or a CNN would stay in fp32 under the name of int8. Of our classifiers
it quantizes matrix products only: with convolutions too, PLAID's T1 was slower (3.5 instead of
4.5 times at batch 1, 1.17 instead of 1.55 at batch 32) and less accurate (.888 instead of .892).

int8_static quantizes products with weights only. With attention's products of two activations
too, PLAID's T1 was slower than not quantized at all (0.77 times onnx_fp32 at batch 1, 0.74 at
batch 32; without them 1.07 to 1.12).
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.variants import Variant, _onnx_export
from tsbench.variants._onnx_export import REQUIREMENTS
from tsbench.variants.built import Built, copying
from tsbench.variants.onnx_session import session
from tsbench.variants.shares import onnx_int8_share

if TYPE_CHECKING:
    from tsbench.variants.source import Source

# quantize_dynamic first turns each Gemm into MatMul and Add.
DYNAMIC_OPERATORS = ("MatMul",)
STATIC_OPERATORS = ("MatMul", "Gemm")
QUANTIZED = ("DequantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul")


def make_fp32(source: Source) -> Built:
    """The model in fp32, for exactly these shapes of inputs."""
    return _built(source, _onnx_export.exported_to_run(source), 0.0)


def make_int8_dynamic(source: Source) -> Built:
    """The model with int8 weights; each call quantizes the activations."""
    fp32 = _onnx_export.exported(source)

    def quantize(path: Path) -> None:
        from onnxruntime.quantization import quantize_dynamic

        with _onnx_export.quiet():
            quantize_dynamic(
                fp32,
                path,
                op_types_to_quantize=_operators(source, DYNAMIC_OPERATORS),
                reduce_range=products_saturate(),
            )

    name = f"onnx-int8_dynamic{_bits()}"
    return _quantized(source, source.cached(name, quantize, ".onnx"))


def make_int8_static(source: Source) -> Built:
    """The model with int8 weights and activations, its scales from calibration batches."""
    fp32 = _onnx_export.exported(source)
    name = f"onnx-int8_static{_bits()}"
    path = source.cached(name, lambda path: quantize_static(fp32, path, source), ".onnx")
    return _quantized(source, path)


def quantize_static(fp32: Path, path: Path, source: Source) -> None:
    """Writes the file's model to `path`, quantized."""
    from onnxruntime import quantization

    names = input_names(fp32)

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        """Yields calibration batches, then None."""

        def __init__(self) -> None:
            self.batches = iter(source.calibration)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            if batch is None:
                return None
            return {name: x.contiguous().numpy() for name, x in zip(names, batch, strict=True)}

    with _onnx_export.quiet():
        quantization.quantize_static(
            fp32,
            path,
            Calibration(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_operators(source, STATIC_OPERATORS),
            # x86's int8 dot product takes unsigned activations and signed weights.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=products_saturate(),
            nodes_to_exclude=products_of_activations(fp32),
        )


def products_saturate() -> bool:
    """Whether this CPU adds int8 products in 16 bits: x86 without VNNI. Weights then need 7 bits.

    With 8, a convolution's outputs differed by 0.16 instead of 0.012 on such a CPU. See ONNX
    Runtime's documentation, "Quantize ONNX models", on reduce_range.
    """
    import torch

    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and not torch.cpu._is_vnni_supported()


def _bits() -> str:
    return "-7bit" if products_saturate() else ""


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


def input_names(path: Path) -> list[str]:
    """The names of the inputs of a file, without its weights."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    return [each.name for each in graph.input if each.name not in weights]


def _operators(source: Source, operators: tuple[str, ...]) -> list[str]:
    return [*operators, "Conv"] if source.quantizes_convolutions else list(operators)


def _quantized(source: Source, path: Path) -> Built:
    """Raises ValueError if quantization changed nothing: the name would lie."""
    import onnx

    operators = {node.op_type for node in onnx.load(path).graph.node}
    if not operators & set(QUANTIZED):
        raise ValueError("the model has no operator that this technique quantizes")
    return _built(source, path, onnx_int8_share(path))


def _built(source: Source, path: Path, int8_share: float) -> Built:
    call: Callable[..., Any] = session(path, source.output)
    return Built(call, path.stat().st_size, int8_share=int8_share, save=copying(path, source))


FP32 = Variant(
    "onnx_fp32",
    "ONNX Runtime, fp32",
    REQUIREMENTS,
    make_fp32,
    same_function=True,
    of_files=("onnx", "onnxruntime"),
)
INT8_DYNAMIC = Variant(
    "onnx_int8_dynamic",
    "ONNX Runtime, int8 weights, activations quantized on each call",
    REQUIREMENTS,
    make_int8_dynamic,
    of_files=("onnx", "onnxruntime"),
)
INT8_STATIC = Variant(
    "onnx_int8_static",
    "ONNX Runtime, int8 weights and activations, calibrated",
    REQUIREMENTS,
    make_int8_static,
    of_files=("onnx", "onnxruntime"),
)

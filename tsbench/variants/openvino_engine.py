"""OpenVINO: fp32, bf16, and int8 with scales from calibration by NNCF.

int8 of our classifiers leaves convolutions (the stem and the patches) in fp32. With convolutions,
and without NNCF's mode for transformers, PLAID's T1 had .886 and .873 at batch 1 and 32; as it is
here, .890 and .892, for 6 and 8 % of the speed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.variants import Variant, _openvino
from tsbench.variants.built import Built, state_bytes
from tsbench.variants.shares import openvino_int8_share
from tsbench.variants.source import FileSource

if TYPE_CHECKING:
    import openvino

    from tsbench.variants.source import Source

INT8_REQUIREMENTS = ("torch", "openvino", "nncf")


# Operators between the softmax of an attention and its product.
MOVING = ("Reshape", "Broadcast", "Convert", "Identity", "Squeeze", "Unsqueeze", "Transpose")


def make_fp32(source: Source) -> Built:
    """The model in fp32, for exactly these shapes of inputs."""
    return _floating(source, "f32")


def make_bf16(source: Source) -> Built:
    """The model in bf16; its weights stay fp32 in the file."""
    return _floating(source, "bf16")


def _floating(source: Source, precision: str) -> Built:
    model = _openvino.converted(source)
    call = _openvino.request(model, precision, source.output)
    return Built(call, weight_bytes(source), save=partial(_openvino.save_as, model))


def make_int8(source: Source) -> Built:
    """The model with int8 products."""

    def write(path: Path) -> None:
        _openvino.save(path, quantize(_openvino.converted(source), source))

    path = source.cached("openvino-int8", write, ".xml")
    model = _openvino.load(path)
    share = openvino_int8_share(model)
    if not share:
        raise ValueError("the model has no operator that this technique quantizes")
    call = _openvino.request(model, "f32", source.output)
    size = path.with_suffix(".bin").stat().st_size
    return Built(call, size, int8_share=share, save=partial(_openvino.save_as, model))


def quantize(model: openvino.Model, source: Source) -> openvino.Model:
    """The model with int8 products, its scales from calibration batches."""
    import contextlib
    import io
    import logging

    _openvino.library()  # disables telemetry before NNCF is imported
    import nncf

    nncf.set_log_level(logging.ERROR)
    convolutions = [
        op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "Convolution"
    ]
    settings: dict[str, Any] = {}
    # Its smoothing took a plain network of scikit-learn, which ends in a Softmax, from 1.00 to
    # 0.28 of equal predictions: only models with attention get it.
    if any(_is_attention(op) for op in model.get_ops()):
        settings["model_type"] = nncf.ModelType.TRANSFORMER
    if not source.quantizes_convolutions:
        settings["ignored_scope"] = nncf.IgnoredScope(names=convolutions)
    batches = [
        arrays[0] if len(arrays) == 1 else tuple(arrays)
        for arrays in ([x.contiguous().numpy() for x in batch] for batch in source.calibration)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # NNCF prints three progress bars
        return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches), **settings)


def _is_attention(op: Any) -> bool:
    """Whether it is attention, fused, or a softmax that a product uses."""
    if op.get_type_name() == "ScaledDotProductAttention":
        return True
    if op.get_type_name() != "Softmax":
        return False
    users = [target.get_node() for target in op.output(0).get_target_inputs()]
    while users:
        user = users.pop()
        if user.get_type_name() == "MatMul":
            return True
        if user.get_type_name() in MOVING:
            users += [target.get_node() for target in user.output(0).get_target_inputs()]
    return False


def weight_bytes(source: Source) -> int:
    """The size of the unchanged weights."""
    if isinstance(source, FileSource):
        return int(source.fixed().stat().st_size)
    return state_bytes(source.model)


FP32 = Variant(
    "openvino_fp32",
    "OpenVINO, fp32",
    ("torch", "openvino"),
    make_fp32,
    same_function=True,
    of_files=("onnx", "openvino"),
)
BF16 = Variant(
    "openvino_bf16",
    "OpenVINO, bf16",
    ("torch", "openvino"),
    make_bf16,
    check_machine=_openvino.check_bf16,
    of_files=("onnx", "openvino"),
)
INT8 = Variant(
    "openvino_int8",
    "OpenVINO, int8 weights and activations, calibrated",
    INT8_REQUIREMENTS,
    make_int8,
    of_files=("onnx", "openvino", "nncf"),
)

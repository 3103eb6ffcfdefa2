"""The techniques of `tsbench.compress`: each builds a callable from a module or an .onnx file."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.compression.outputs import flat_outputs, like

if TYPE_CHECKING:
    from torch import Tensor, nn

    Inputs = tuple[Tensor, ...]

PRUNED_SHARE = 0.3
ONNX = ("torch", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Built:
    """A callable, and the bytes of its weights as saved."""

    call: Callable[..., Any]
    size_bytes: int


@dataclass(frozen=True)
class Technique:
    """How one technique is applied: `build(model, example, calibration)`."""

    build: Callable[[Any, Inputs, Sequence[Inputs]], Built]
    requirements: tuple[str, ...] = ("torch",)
    same_function: bool = False


# Eager torch


def _fp32(model: nn.Module, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
    return Built(model, _state_bytes(model))


def _bf16(model: nn.Module, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
    import torch

    from tsbench.variants.bf16 import check_bf16

    check_bf16("bf16")
    cast = model.to(torch.bfloat16)

    def call(*inputs: Tensor) -> Any:
        output = cast(*(x.to(torch.bfloat16) if x.is_floating_point() else x for x in inputs))
        return like(output, [leaf.float() for leaf in flat_outputs(output)])

    return Built(call, _state_bytes(cast))


def _int8_dynamic(model: nn.Module, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
    import torch
    from torch import nn

    from tsbench.variants.int8_dynamic import check_engines

    check_engines("int8_dynamic")
    if not any(isinstance(module, nn.Linear) for module in model.modules()):
        raise ValueError("the model has no nn.Linear, and eager int8 quantizes nothing else")
    if any(isinstance(module, nn.MultiheadAttention) for module in model.modules()):
        raise ValueError("nn.MultiheadAttention takes the weights of its Linears directly")
    quantized = torch.ao.quantization.quantize_dynamic(
        model, {nn.Linear}, dtype=torch.qint8, inplace=True
    )
    return Built(quantized, _state_bytes(quantized))


def _l1_unstructured(model: nn.Module, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                order = weight.abs().flatten().argsort(stable=True)
                weight.view(-1)[order[: round(PRUNED_SHARE * weight.numel())]] = 0
    return Built(model, _state_bytes(model))


# Compiled and exported


def _compiled(model: nn.Module, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
    import torch

    from tsbench.variants._inductor import INDUCTOR, known_warnings

    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), known_warnings():
        path = Path(folder) / "model.pt2"
        with torch._inductor.config.patch({**INDUCTOR, "max_autotune": False}):
            program = torch.export.export(flat(model), inputs)
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        loaded = torch._inductor.aoti_load_package(str(path))
        output = model(*inputs)

    def call(*inputs: Tensor) -> Any:
        return like(output, flat_outputs(loaded(*inputs)))

    return Built(call, _state_bytes(model))


def _onnx(
    write: Callable[[Path, Path, Sequence[Inputs]], None] | None,
) -> Callable[[Any, Inputs, Sequence[Inputs]], Built]:
    """A technique on ONNX Runtime: exported, and rewritten by `write(from, to, batches)`."""

    def build(model: Any, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
        import torch

        from tsbench.variants._onnx_export import quiet

        with tempfile.TemporaryDirectory() as folder, torch.no_grad(), quiet():
            path = Path(folder) / "fp32.onnx"
            output = None
            if isinstance(model, str | Path):
                path = Path(model)
            else:
                output = model(*inputs)
                _export(model, inputs, path)
            if write is not None:
                rewritten = Path(folder) / "rewritten.onnx"
                write(path, rewritten, batches)
                path = rewritten
            run, size = onnx_session(path), _onnx_bytes(path)

        if output is None:
            return Built(run, size)
        return Built(lambda *inputs: like(output, flat_outputs(run(*inputs))), size)

    return build


def _export(model: nn.Module, inputs: Inputs, path: Path) -> None:
    import onnx
    import torch

    torch.onnx.export(
        flat(model),
        inputs,
        path,
        dynamo=True,
        verbose=False,
        external_data=False,
    )
    written = onnx.load(path)
    del written.graph.value_info[:]  # see _onnx_export.py
    onnx.save(written, path)


def _quantize_dynamic(path: Path, to: Path, batches: Sequence[Inputs]) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(path, to, op_types_to_quantize=["MatMul"])
    _require_quantized(to)


def _quantize_static(path: Path, to: Path, batches: Sequence[Inputs]) -> None:
    from onnxruntime import quantization

    from tsbench.variants.onnx_runtime import products_of_activations

    names = _input_names(path)
    left = iter(batches)

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(left, None)
            if batch is None:
                return None
            return {name: x.numpy() for name, x in zip(names, batch, strict=True)}

    quantization.quantize_static(
        path,
        to,
        Calibration(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        nodes_to_exclude=products_of_activations(path),
    )
    _require_quantized(to)


def _require_quantized(path: Path) -> None:
    """Raises ValueError if quantization changed nothing."""
    import onnx

    operators = {node.op_type for node in onnx.load(path).graph.node}
    if not operators & {"DequantizeLinear", "MatMulInteger", "DynamicQuantizeMatMul"}:
        raise ValueError("the model has no operator that this technique quantizes")


def onnx_session(path: Path) -> Callable[..., Any]:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # as the baseline
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def call(*inputs: Tensor) -> Any:
        feed = {name: x.contiguous().numpy() for name, x in zip(names, inputs, strict=True)}
        outputs = tuple(torch.from_numpy(each) for each in session.run(None, feed))
        return outputs[0] if len(outputs) == 1 else outputs

    return call


def _input_names(path: Path) -> list[str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [each.name for each in session.get_inputs()]


def _openvino(precision: str) -> Callable[[Any, Inputs, Sequence[Inputs]], Built]:
    def build(model: Any, inputs: Inputs, batches: Sequence[Inputs]) -> Built:
        import torch

        from tsbench.variants import _openvino as engine

        if precision == "bf16":
            engine.check_bf16("openvino_bf16")
        if isinstance(model, str | Path):
            converted, output, size = engine.load(Path(model)), None, _onnx_bytes(Path(model))
        else:
            with torch.no_grad():
                output = model(*inputs)
                program = torch.export.export(flat(model), inputs)
                converted = engine.library().convert_model(program)
            size = _state_bytes(model)
        request = engine.request_of_many(converted, precision)

        def call(*inputs: Tensor) -> Any:
            found = request(*inputs)
            if output is None:
                return found[0] if len(found) == 1 else tuple(found)
            return like(output, found)

        return Built(call, size)

    return build


def flat(model: nn.Module) -> nn.Module:
    """The model with its output as a tuple of tensors, for exporters."""
    from torch import nn

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(flat_outputs(self.model(*inputs)))

    return Flat().eval()


MODULE_TECHNIQUES: Mapping[str, Technique] = {
    "fp32": Technique(_fp32, same_function=True),
    "bf16": Technique(_bf16),
    "int8_dynamic": Technique(_int8_dynamic),
    "l1_unstructured": Technique(_l1_unstructured),
    "compiled": Technique(_compiled, ("torch", "g++"), same_function=True),
    "onnx_fp32": Technique(_onnx(None), ONNX, same_function=True),
    "onnx_int8_dynamic": Technique(_onnx(_quantize_dynamic), ONNX),
    "onnx_int8_static": Technique(_onnx(_quantize_static), ONNX),
    "openvino_fp32": Technique(_openvino("f32"), ("torch", "openvino"), same_function=True),
    "openvino_bf16": Technique(_openvino("bf16"), ("torch", "openvino")),
}
ONNX_FILE_TECHNIQUES: Mapping[str, Technique] = {
    "onnx_fp32": Technique(_onnx(None), ("onnxruntime",), same_function=True),
    "onnx_int8_dynamic": Technique(_onnx(_quantize_dynamic), ("onnx", "onnxruntime")),
    "onnx_int8_static": Technique(_onnx(_quantize_static), ("onnx", "onnxruntime")),
    "openvino_fp32": Technique(_openvino("f32"), ("openvino",), same_function=True),
    "openvino_bf16": Technique(_openvino("bf16"), ("openvino",)),
}


def _onnx_bytes(path: Path) -> int:
    """The size of the file, and of the weights that torch's exporter writes beside it."""
    weights = path.with_name(path.name + ".data")
    return path.stat().st_size + (weights.stat().st_size if weights.is_file() else 0)


def _state_bytes(model: nn.Module) -> int:
    import torch

    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes

"""The share of a model's FLOPs that runs in int8, and FLOPs of any module.

Counted are matrix products and convolutions, two operations a multiply-add.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from tsbench.variants.source import Source

    Inputs = tuple[Tensor, ...]

# ONNX operators that multiply int8 by int8, and those whose int8 form is a Dequantize before them.
INTEGER_PRODUCTS = ("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv")
ONNX_PRODUCTS = ("MatMul", "Gemm", "Conv", *INTEGER_PRODUCTS)
# Where an integer product has its second operand: its weights, if it has any.
SECOND = {"QLinearMatMul": 3, "QLinearConv": 3}


def module_flops(model: nn.Module, inputs: Inputs) -> int:
    """The FLOPs of one call."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with _single_operators(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return int(counter.get_total_flops())


def removed_flops(source: Source, smaller: nn.Module) -> float:
    """The share of the model's FLOPs that a pruned model lacks."""
    whole = module_flops(source.plain(), source.inputs)
    return max(0.0, 1 - module_flops(smaller, source.inputs) / whole) if whole else 0.0


def linear_flops(model: nn.Module, inputs: Inputs) -> int:
    """The FLOPs of the model's nn.Linears in one call."""
    import torch
    from torch import nn

    counted: list[int] = []

    def add(module: Any, args: Sequence[Tensor], output: Tensor) -> None:
        counted.append(2 * output.numel() * module.in_features)

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Linear)]
    try:
        with _single_operators(), torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


@contextmanager
def _single_operators() -> Iterator[None]:
    """No fused attention inside the block: torch's counter does not know every such operator."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def graph_int8_share(graph: fx.GraphModule, inputs: Inputs) -> float:
    """Of a graph that PT2E converted: products whose inputs are dequantized."""
    import torch
    from torch.fx.passes.shape_prop import ShapeProp

    aten = torch.ops.aten
    weighted = {  # operator: the places of its two operands
        aten.linear.default: (0, 1),
        aten.conv1d.default: (0, 1),
        aten.conv2d.default: (0, 1),
        aten.conv3d.default: (0, 1),
        aten.matmul.default: (0, 1),
        aten.bmm.default: (0, 1),
        aten.mm.default: (0, 1),
        aten.addmm.default: (1, 2),
    }
    with torch.no_grad():
        ShapeProp(graph).propagate(*inputs)
    total = int8 = 0
    for node in graph.graph.nodes:
        if node.target not in weighted:
            continue
        operands = [node.args[place] for place in weighted[node.target]]
        second = _shape(operands[1])
        flops = 2 * prod(_shape(node))
        if node.target in (aten.linear.default,) or "conv" in str(node.target):
            flops *= prod(second[1:])
        else:
            flops *= second[-2] if len(second) > 1 else 1
        total += flops
        if all("dequantize" in str(operand.target) for operand in operands):
            int8 += flops
    return int8 / total if total else 0.0


def _shape(node: fx.Node) -> Sequence[int]:
    return tuple(node.meta["tensor_meta"].shape)


def onnx_int8_share(path: Path) -> float:
    """Of an ONNX file with fixed shapes. 0 where shapes cannot be inferred."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    total = int8 = 0
    for node in graph.node:
        if node.op_type not in ONNX_PRODUCTS:
            continue
        second = shapes.get(node.input[SECOND.get(node.op_type, 1)])
        output = shapes.get(node.output[0])
        if not second or not output:
            continue
        depth = prod(second[1:]) if "Conv" in node.op_type else second[-2]
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            depth = second[-1]
        flops = 2 * prod(output) * depth
        total += flops
        before = [made_by[name].op_type for name in node.input[:2] if name in made_by]
        if node.op_type in INTEGER_PRODUCTS or before == ["DequantizeLinear"] * 2:
            int8 += flops
    return int8 / total if total else 0.0


def openvino_int8_share(model: Any) -> float:
    """Of an OpenVINO model that NNCF quantized: products whose inputs are FakeQuantized."""
    total = int8 = 0
    for op in model.get_ops():
        kind = op.get_type_name()
        if kind not in ("MatMul", "Convolution", "GroupConvolution"):
            continue
        if any(op.get_input_partial_shape(place).is_dynamic for place in (0, 1)):
            continue
        first, second = (list(op.get_input_shape(place)) for place in (0, 1))
        if kind == "MatMul":
            depth = first[-2] if op.get_attributes().get("transpose_a") else first[-1]
        else:
            depth = prod(second[2:] if kind == "GroupConvolution" else second[1:])
        flops = 2 * prod(op.get_output_shape(0)) * depth
        total += flops
        if all(_is_quantized(op.input_value(place).get_node()) for place in (0, 1)):
            int8 += flops
    return int8 / total if total else 0.0


def _is_quantized(node: Any) -> bool:
    """Whether a FakeQuantize, or int8 weights with their scale, give the operand."""
    passing = ("Multiply", "Subtract", "Convert", "Reshape", "Transpose", "Unsqueeze", "Squeeze")
    while node.get_type_name() in passing:
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Constant":
        return node.get_element_type().get_type_name() in ("i8", "u8")
    return bool(node.get_type_name() == "FakeQuantize")

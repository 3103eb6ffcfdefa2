"""Eager dynamic quantization: int8 weights; each call quantizes the activations.

torch's own `quantize_dynamic` on the Linears. torchao's eager successor, `quantize_` with
Int8DynamicActivationInt8WeightConfig, has no fused CPU kernel without a compiler. The stock
encoder layer crashes on quantized Linears, because its fast path takes their weights directly:
so its layers become plain ones first.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant
from tsbench.variants.built import Built, eager
from tsbench.variants.shares import linear_flops, module_flops

if TYPE_CHECKING:
    from tsbench.variants.source import Source

ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")  # torch's names


def check_engines(variant: str) -> None:
    """Raises VariantUnavailable if torch was built without quantized kernels."""
    import torch

    supported = torch.backends.quantized.supported_engines
    if not set(ENGINES) & set(supported):
        raise VariantUnavailable(
            variant,
            f"torch's quantized engines here are {supported}",
            f"install a torch built with one of {', '.join(ENGINES)}",
        )


def make(source: Source) -> Built:
    """A copy of the model whose Linears hold int8 weights."""
    import torch
    from torch import nn

    plain = source.plain()
    if not any(isinstance(module, nn.Linear) for module in plain.modules()):
        raise ValueError("the model has no nn.Linear, and eager int8 quantizes nothing else")
    if any(isinstance(module, nn.MultiheadAttention) for module in plain.modules()):
        raise ValueError("nn.MultiheadAttention takes the weights of its Linears directly")
    share = 0.0
    if source.inputs:
        share = linear_flops(plain, source.inputs) / max(1, module_flops(plain, source.inputs))
    with warnings.catch_warnings():
        # torch 2.13 announces that this module will go, in favour of torchao. The paper measured
        # it, and constraints.txt pins a torch that has it.
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated")
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, torch.quantize_per_channel")
        quantized = torch.ao.quantization.quantize_dynamic(
            plain, {nn.Linear}, dtype=torch.qint8, inplace=True
        )
        return eager(quantized, int8_share=share)


VARIANT = Variant(
    "int8_dynamic",
    "eager int8 Linears, activations quantized on each call",
    ("torch",),
    make,
    check_machine=check_engines,
)

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

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

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


def make(model: Classifier, data: Prepared, batch_cases: int) -> nn.Module:
    """A copy of the model whose Linears hold int8 weights."""
    import torch
    from torch import nn

    from tsbench.model import to_plain

    plain = to_plain(model).eval()
    with warnings.catch_warnings():
        # torch 2.13 announces that this module will go, in favour of torchao. The paper measured
        # it, and constraints.txt pins a torch that has it.
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated")
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, torch.quantize_per_channel")
        return torch.ao.quantization.quantize_dynamic(
            plain, {nn.Linear}, dtype=torch.qint8, inplace=True
        )


VARIANT = Variant(
    "int8_dynamic",
    "eager int8 Linears, activations quantized on each call",
    ("torch",),
    make,
    check_machine=check_engines,
)

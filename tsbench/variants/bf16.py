"""Eager bfloat16: weights and activations of half the bytes. Logits are fp32 again.

The whole model is cast: torch.autocast casts the weights on each call, and took 8 % longer at
batch 1 and 15 % at batch 32. Both are slower than fp32 on small products, see docs/limits.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier


def check_bf16(variant: str) -> None:
    """Raises VariantUnavailable if the CPU has no bfloat16 products: torch would emulate them."""
    import torch

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise VariantUnavailable(
            variant, "oneDNN finds no bfloat16 instructions in this CPU", "run it on another CPU"
        )


def make(model: Classifier, data: Prepared, batch_cases: int) -> nn.Module:
    """A copy of the model in bfloat16, from fp32 x to fp32 logits."""
    from copy import deepcopy

    import torch
    from torch import nn

    class Bfloat16(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = deepcopy(model).to(torch.bfloat16)

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x.to(torch.bfloat16)).float()

    return Bfloat16().eval()


VARIANT = Variant(
    "bf16",
    "stock eager torch in bfloat16, logits in fp32",
    ("torch",),
    make,
    check_machine=check_bf16,
)

"""Eager bfloat16: weights and activations of half the bytes. Logits are fp32 again.

The whole model is cast: torch.autocast casts the weights on each call, and took 8 % longer at
batch 1 and 15 % at batch 32. Both are slower than fp32 on small products, see docs/limits.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.outputs import flat_outputs, like
from tsbench.variants import Variant
from tsbench.variants.built import Built, eager

if TYPE_CHECKING:
    from torch import Tensor

    from tsbench.variants.source import Source


def check_bf16(variant: str) -> None:
    """Raises VariantUnavailable if the CPU has no bfloat16 products: torch would emulate them."""
    import torch

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise VariantUnavailable(
            variant, "oneDNN finds no bfloat16 instructions in this CPU", "run it on another CPU"
        )


def make(source: Source) -> Built:
    """A copy of the model in bfloat16, from fp32 inputs to fp32 outputs."""
    import torch
    from torch import nn

    cast = source.copy().to(torch.bfloat16)

    class Bfloat16(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = cast

        def forward(self, *inputs: Tensor) -> Any:
            halved = (x.to(torch.bfloat16) if x.is_floating_point() else x for x in inputs)
            output = self.model(*halved)
            if isinstance(output, torch.Tensor):
                return output.float()
            return like(output, [_float(leaf) for leaf in flat_outputs(output)])

    return eager(Bfloat16().eval())


def _float(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


VARIANT = Variant(
    "bf16",
    "stock eager torch in bfloat16, logits in fp32",
    ("torch",),
    make,
    check_machine=check_bf16,
)

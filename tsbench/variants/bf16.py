"""Eager bfloat16: weights and activations of half the bytes; logits come back as fp32.

The whole model is cast: torch.autocast casts the weights anew on each call, and took 8 % longer
at batch 1 and 15 % at batch 32. Against fp32 both lose: this one's Speedup was 0.63 and 0.88
(CPU time of PLAID's T1 on an AMD EPYC with AVX-512 BF16, docs/limits.md). Why was not measured; products this
small leave much of the time to everything around them, which bfloat16 does not make cheaper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier


def check() -> None:
    """Raises VariantUnavailable on a CPU without fast bfloat16 products: torch would emulate them."""
    import torch

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise VariantUnavailable(
            "bf16",
            "this CPU has no bfloat16 instructions that oneDNN could use",
            "run it on another CPU",
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


VARIANT = Variant("bf16", "stock eager torch in bfloat16, logits in fp32", ("torch",), check, make)

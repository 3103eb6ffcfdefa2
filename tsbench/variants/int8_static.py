"""Static quantization: int8 weights and activations, scales from calibration, compiled.

torchao's PT2E flow for x86: export, insert observers, run calibration cases, convert. Then
inductor fuses the quantized operators into oneDNN's int8 kernels, see _inductor.py.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant, _inductor
from tsbench.variants.calibration import calibration_x, example

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify


def check_x86(variant: str) -> None:
    """Raises VariantUnavailable, in the variant's name, on another CPU than an x86."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise VariantUnavailable(
            variant,
            f"its kernels require an x86 CPU, this is {platform.machine()}",
            "run it on an x86 machine",
        )


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The quantized model, compiled for exactly this batch size; cached."""
    return _inductor.compiled(
        "int8_static", lambda: quantize(model, data, batch_cases), model, data, batch_cases
    )


def quantize(model: Classifier, data: Prepared, batch_cases: int) -> nn.Module:
    """The converted graph, before compiling: quantize and dequantize around every operator."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from tsbench.model import to_plain
    from tsbench.training.evaluate import batched_logits

    with torch.no_grad():
        exported = torch.export.export(
            to_plain(model, fused_attention=False).eval(), (example(data, batch_cases),)
        )
        quantizer = X86InductorQuantizer()
        quantizer.set_global(get_default_x86_inductor_quantization_config())
        observed = prepare_pt2e(exported.module(), quantizer)
        batched_logits(observed, calibration_x(data), batch_cases)
        return convert_pt2e(observed)


VARIANT = Variant(
    "int8_static",
    "int8 weights and activations, calibrated, compiled by inductor",
    ("torch", "torchao", "g++"),
    make,
    check_machine=check_x86,
)

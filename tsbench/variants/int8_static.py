"""Static quantization: int8 weights and activations, scales from calibration, compiled.

torchao's PT2E flow for x86: export, insert observers, run calibration cases, convert. Then
inductor fuses the quantized operators into oneDNN's int8 kernels, see _inductor.py.

The quantizer knows no one-dimensional convolutions: those of any model but our classifier become
two-dimensional ones first.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant, _inductor

if TYPE_CHECKING:
    from torch import fx

    from tsbench.variants.built import Built
    from tsbench.variants.source import Source


def check_x86(variant: str) -> None:
    """Raises VariantUnavailable, in the variant's name, on another CPU than an x86."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise VariantUnavailable(
            variant,
            f"its kernels require an x86 CPU, this is {platform.machine()}",
            "run it on an x86 machine",
        )


def make(source: Source) -> Built:
    """The quantized model, compiled for exactly these shapes of inputs."""
    return _inductor.compiled("int8_static", lambda: quantize(source), source, int8=True)


def quantize(source: Source) -> fx.GraphModule:
    """The converted graph, before compiling: quantize and dequantize around every operator."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    with torch.no_grad():
        exported = torch.export.export(source.exportable(source.images()), source.inputs)
        quantizer = X86InductorQuantizer()
        quantizer.set_global(get_default_x86_inductor_quantization_config())
        observed = prepare_pt2e(exported.module(), quantizer)
        for batch in source.calibration:
            observed(*batch)
        return convert_pt2e(observed)


VARIANT = Variant(
    "int8_static",
    "int8 weights and activations, calibrated, compiled by inductor",
    ("torch", "torchao", "g++"),
    make,
    check_machine=check_x86,
)

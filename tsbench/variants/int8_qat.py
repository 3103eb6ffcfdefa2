"""Quantization-aware training: static int8, fine-tuned with its rounding.

torchao's PT2E flow with fake quantization: export, round weights and activations to int8 in fp32
arithmetic, train for a few epochs, convert, and compile as int8_static does.

Batch norms are first folded into their convolutions. Training and the compiled model then round
the same weights, and statistics of small batches play no part.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant, _inductor, int8_static
from tsbench.variants.convolutions import fold_batch_norms

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from tsbench.training.recipes import Recipe
    from tsbench.variants.built import Built
    from tsbench.variants.source import Source

NAME = "int8_qat"
CALIBRATION_BATCH_CASES = 32  # the same for each batch size: one training serves them all
EPOCHS = 6  # a tenth of PLAID's training: the weights only settle on the int8 grid
LEARNING_RATE = 1e-4  # a fortieth of training's


def make(source: Source) -> Built:
    """The fine-tuned, quantized model, compiled for exactly these shapes of inputs.

    Raises VariantUnavailable if the source cannot be trained again.
    """
    if not source.can_train:
        raise VariantUnavailable(
            NAME,
            "it trains the model again, and no training is known",
            "pass retrain=, a function that trains a module in place",
        )
    return _inductor.compiled(
        NAME, lambda: quantize(source), source, int8=True, recipe=asdict(recipe())
    )


def recipe() -> Recipe:
    """How our classifiers are fine-tuned. Other models bring their own training."""
    from tsbench.training.recipes import Recipe

    return Recipe(epochs=EPOCHS, learning_rate=LEARNING_RATE)


def quantize(source: Source) -> fx.GraphModule:
    """The fine-tuned and converted graph, before compiling."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    with _inductor.known_warnings():
        tuned = source.tuned(fake_quantized(source), NAME, recipe())
        with torch.no_grad():
            return convert_pt2e(tuned)


def fake_quantized(source: Source) -> nn.Module:
    """A trainable graph of the model that rounds to int8; its ranges are from calibration."""
    import torch
    from torchao.quantization.pt2e import allow_exported_model_train_eval
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    folded = source.exportable(fold_batch_norms(source.images()))
    # Training uses batches of several sizes: the batch dimension stays dynamic.
    inputs = tuple(_two_cases(x) for x in source.inputs)
    each = tuple({0: torch.export.Dim.AUTO} if x.dim() else {} for x in inputs)
    # What `exportable` wraps takes its inputs as one *inputs.
    shapes: Any = each if isinstance(source.output, torch.Tensor) else (each,)
    exported = torch.export.export(folded, inputs, dynamic_shapes=shapes)
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(is_qat=True))
    prepared = allow_exported_model_train_eval(prepare_qat_pt2e(exported.module(), quantizer))
    with torch.no_grad():  # not inference_mode: training continues with these ranges
        for batch in source.calibration_in(CALIBRATION_BATCH_CASES):
            prepared(*batch)
    return prepared


def _two_cases(x: Tensor) -> Tensor:
    """The first cases, twice: torch.export fixes a size of 1."""
    import torch

    return torch.cat([x, x])[: max(2, len(x))] if x.dim() else x


VARIANT = Variant(
    NAME,
    "static int8 after a few epochs of training with its rounding, compiled by inductor",
    int8_static.VARIANT.requirements,
    make,
    check_machine=int8_static.VARIANT.check_machine,
)

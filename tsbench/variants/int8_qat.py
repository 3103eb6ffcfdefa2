"""Quantization-aware training: static int8 whose weights were fine-tuned under its rounding.

torchao's PT2E flow with fake quantization: export, round weights and activations to int8 in
fp32 arithmetic, train on for a few epochs, convert, and compile as int8_static does.

The stem's batch norms are folded into its convolutions first, so that training and the
compiled model round the same weights, and statistics of small batches stay out of it.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from tsbench.variants import Variant, int8_static

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.training.recipes import Recipe
    from tsbench.variants import Classify

EPOCHS = 6  # a tenth of PLAID's training: the weights have only to settle on the int8 grid
LEARNING_RATE = 1e-4  # a fortieth of training's


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The fine-tuned, quantized model, compiled for exactly this batch size; from the cache if it is there."""
    return int8_static.compiled(
        "int8_qat", lambda: quantize(model, data), model, data, batch_cases, recipe=asdict(recipe())
    )


def recipe() -> Recipe:
    """How it is fine-tuned."""
    from tsbench.training.recipes import Recipe

    return Recipe(epochs=EPOCHS, learning_rate=LEARNING_RATE)


def quantize(model: Classifier, data: Prepared) -> nn.Module:
    """The fine-tuned and converted graph, for any batch size, before compiling."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    with int8_static.known_warnings():
        tuned = fine_tuned(model, data)
        with torch.no_grad():
            return convert_pt2e(tuned)


def fine_tuned(model: Classifier, data: Prepared) -> nn.Module:
    """The graph with fake quantization, trained; the training is cached, and serves every batch size."""
    from tsbench import checkpoints
    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256
    from tsbench.training.train import fit

    key = cache_key(
        data,
        weights=weights_sha256(model),
        recipe=asdict(recipe()),
        build=int8_static.BUILD_VERSION,
    )
    path = cache.folder() / "models" / f"{data.name}-int8_qat-{key}.safetensors"
    prepared = rounding(model, data)
    if path.is_file():
        checkpoints.load_weights(path, prepared)
    else:
        fit(prepared, data, recipe())  # type: ignore[arg-type]  # a graph of torch.export, called as a Classifier is
        checkpoints.save_weights(path, prepared, {"recipe": asdict(recipe())})
    return prepared


def rounding(model: Classifier, data: Prepared) -> nn.Module:
    """A trainable graph of the model that rounds to int8 on the way, its ranges those of calibration."""
    import torch
    from torchao.quantization.pt2e import allow_exported_model_train_eval
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from tsbench.model import to_plain

    folded = fold_batch_norms(to_plain(model, fused_attention=False).eval())
    # Training splits an epoch into batches of nearly equal size: the size stays open.
    shapes = {"x": {0: torch.export.Dim("batch", min=2)}}
    exported = torch.export.export(folded, (int8_static.example(data, 2),), dynamic_shapes=shapes)
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(is_qat=True))
    prepared = allow_exported_model_train_eval(prepare_qat_pt2e(exported.module(), quantizer))
    with torch.no_grad():  # not inference_mode: the ranges seen here are trained on
        for batch in int8_static.calibration_x(data).split(32):
            prepared(batch)
    return prepared


def fold_batch_norms(model: Classifier) -> Classifier:
    """Folds each batch norm of the stem into the convolution before it, in place; the same function in eval mode."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in list(model.stem.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(1, len(module)):
            before, norm = module[index - 1], module[index]
            if isinstance(before, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d):
                module[index - 1] = fuse_conv_bn_eval(before, norm)
                module[index] = nn.Identity()
    return model


VARIANT = Variant(
    "int8_qat",
    "static int8 after a few epochs of training under its rounding, compiled by inductor",
    int8_static.VARIANT.needs,
    partial(int8_static.check, "int8_qat"),
    make,
)

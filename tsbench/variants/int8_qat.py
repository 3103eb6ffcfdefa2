"""Quantization-aware training: static int8, fine-tuned with its rounding.

torchao's PT2E flow with fake quantization: export, round weights and activations to int8 in fp32
arithmetic, train for a few epochs, convert, and compile as int8_static does.

The stem's batch norms are first folded into its convolutions. Training and the compiled model
then round the same weights, and statistics of small batches play no part.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tsbench.variants import Variant, _inductor, int8_static
from tsbench.variants.calibration import calibration_x, example

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.training.recipes import Recipe
    from tsbench.variants import Classify

EPOCHS = 6  # a tenth of PLAID's training: the weights only settle on the int8 grid
LEARNING_RATE = 1e-4  # a fortieth of training's


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The fine-tuned, quantized model, compiled for exactly this batch size; cached."""
    return _inductor.compiled(
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

    with _inductor.known_warnings():
        tuned = fine_tuned(model, data)
        with torch.no_grad():
            return convert_pt2e(tuned)


def fine_tuned(model: Classifier, data: Prepared) -> nn.Module:
    """The trained graph with fake quantization; cached, and used for every batch size."""
    from tsbench import checkpoints
    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256
    from tsbench.training.train import fit

    key = cache_key(
        data,
        weights=weights_sha256(model),
        recipe=asdict(recipe()),
        build=_inductor.BUILD_VERSION,
    )
    path = cache.folder() / "models" / f"{data.name}-int8_qat-{key}.safetensors"
    prepared = fake_quantized(model, data)
    if path.is_file():
        checkpoints.load_weights(path, prepared)
    else:
        fit(prepared, data, recipe())  # type: ignore[arg-type]  # an exported graph
        checkpoints.save_weights(path, prepared, {"recipe": asdict(recipe())})
    return prepared


def fake_quantized(model: Classifier, data: Prepared) -> nn.Module:
    """A trainable graph of the model that rounds to int8; its ranges are from calibration."""
    import torch
    from torchao.quantization.pt2e import allow_exported_model_train_eval
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from tsbench.model import to_plain

    folded = fold_batch_norms(to_plain(model, fused_attention=False).eval())
    # Training uses batches of several sizes: the batch dimension stays dynamic.
    shapes = {"x": {0: torch.export.Dim("batch", min=2)}}
    exported = torch.export.export(folded, (example(data, 2),), dynamic_shapes=shapes)
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(is_qat=True))
    prepared = allow_exported_model_train_eval(prepare_qat_pt2e(exported.module(), quantizer))
    with torch.no_grad():  # not inference_mode: training continues with these ranges
        for batch in calibration_x(data).split(32):
            prepared(batch)
    return prepared


def fold_batch_norms(model: Classifier) -> Classifier:
    """Folds the stem's batch norms into its convolutions, in place. Same function in eval mode."""
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
    "static int8 after a few epochs of training with its rounding, compiled by inductor",
    int8_static.VARIANT.requirements,
    make,
    check_machine=int8_static.VARIANT.check_machine,
)

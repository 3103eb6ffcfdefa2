"""The floating-point operations of a classifier for a batch, counted from its shapes.

A multiply-add is two operations, as in papers on hardware and in torch's FlopCounterMode. Norms,
activations, softmax and additions do not count, as there. A weight of zero counts, because dense
kernels multiply by it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tsbench.model import Classifier

PER_MULTIPLY_ADD = 2


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one call, by part of the model."""

    stem: int  # convolutions, including those of the patches
    projections: int  # q, k, v and the output of attention
    products: int  # q times k, and attention times v
    feed_forward: int
    head: int

    @property
    def total(self) -> int:
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Each part's name and operations."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def flops(model: Classifier, batch_cases: int) -> Flops:
    """The operations of one call. Removed heads and channels do not count.

    >>> from tsbench.model import Classifier, ModelConfig
    >>> flops(Classifier(ModelConfig()), 1).head == 2 * 64 * 11
    True
    """
    from torch import nn

    from tsbench.model import encoder_layers

    n_tokens = model.config.n_tokens
    stem, timepoints = _convolutions(model.stem, model.config.timepoints)
    patch, _ = _convolutions(model.patch, timepoints)
    projections = products = feed_forward = 0
    for layer in encoder_layers(model):
        attention_width, ff_dim = _widths(layer)
        d_model = model.config.d_model
        projections += n_tokens * 4 * d_model * attention_width
        products += 2 * n_tokens * n_tokens * attention_width
        feed_forward += n_tokens * 2 * d_model * ff_dim
    head = sum(
        each.in_features * each.out_features
        for each in model.head.modules()
        if isinstance(each, nn.Linear)
    )
    scale = PER_MULTIPLY_ADD * batch_cases
    return Flops(
        scale * (stem + patch),
        scale * projections,
        scale * products,
        scale * feed_forward,
        scale * head,
    )


def _widths(layer: Any) -> tuple[int, int]:
    """A layer's heads times their dimension, and its feed-forward channels."""
    from tsbench.model import PlainEncoderLayer

    if isinstance(layer, PlainEncoderLayer):
        return layer.n_heads * layer.head_dim, layer.ff1.out_features
    return layer.self_attn.embed_dim, layer.linear1.out_features


def _convolutions(module: nn.Module, timepoints: int) -> tuple[int, int]:
    """Multiply-adds per case of a module's convolutions, and its output's timepoints."""
    from torch import nn

    from tsbench.model import PatchStatistics

    if isinstance(module, PatchStatistics):
        return 0, timepoints // module.timepoints
    if isinstance(module, nn.Conv1d):
        kernel, stride, padding = module.kernel_size[0], module.stride[0], module.padding[0]
        assert isinstance(padding, int)  # in tsbench's stem, not "same"
        left = (timepoints + 2 * padding - kernel) // stride + 1
        return left * module.out_channels * module.in_channels // module.groups * kernel, left
    total = 0
    for child in module.children():  # in tsbench's stem, in the order of application
        count, timepoints = _convolutions(child, timepoints)
        total += count
    return total, timepoints

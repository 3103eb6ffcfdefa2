"""Training after pruning, cached.

`fine_tuning` is short, for models that lost single weights. Models that lost heads, channels or
layers are trained by the data set's whole recipe. That is learning-rate rewinding
(arXiv:2003.02389): the first rate again, for as many epochs as the model was trained. Weight
matrices keep their zeros, so a pruned model stays as sparse as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.training.recipes import Recipe

EPOCHS = 12  # a fifth of PLAID's training
LEARNING_RATE = 5e-4  # a quarter of training's
RETRAINED_AS = "t1"  # the config whose recipe is used: pruned models are big ones


def fine_tuning() -> Recipe:
    """The recipe of a short training."""
    from tsbench.training.recipes import Recipe

    return Recipe(epochs=EPOCHS, learning_rate=LEARNING_RATE)


def trained(pruned: Any, data: Prepared, variant: str, recipe: Recipe) -> nn.Module:
    """One of our classifiers, or a graph of one, trained in place; cached."""
    from tsbench import checkpoints
    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256
    from tsbench.training.train import fit

    key = cache_key(data, weights=weights_sha256(pruned), recipe=asdict(recipe), zeros_stay=True)
    path = cache.folder() / cache.MODELS / f"{data.name}-{variant}-{key}.safetensors"
    if path.is_file():
        checkpoints.load_weights(path, pruned)
    else:
        with zeros_kept(pruned):
            fit(pruned, data, recipe)
        checkpoints.save_weights(path, pruned, {"recipe": asdict(recipe)})
    cache.used(path)
    return pruned


@contextmanager
def zeros_kept(model: nn.Module) -> Iterator[None]:
    """Inside the block, training does not change weights of matrices that are exactly zero.

    Their gradients become zeros, from which AdamW, weight decay included, makes steps of zero.
    Gradient clipping then sees only the other weights.
    """
    hooks = []
    for parameter in model.parameters():
        if parameter.dim() > 1 and (parameter == 0).any():
            mask = (parameter.detach() != 0).to(parameter.dtype)
            hooks.append(parameter.register_hook(mask.mul))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

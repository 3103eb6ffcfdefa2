"""Training that makes up for what pruning lost, done once and cached.

`fine_tuned` is short, for what lost single weights; `retrained` is a whole training, for what lost heads, channels or layers.
Weight matrices keep their zeros, so a pruned model stays as sparse as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.training.recipes import Recipe

EPOCHS = 12  # a fifth of PLAID's training
LEARNING_RATE = 5e-4  # a quarter of training's: a repair, not a new start
RETRAINED_AS = "t1"  # whose recipe: what is pruned here is a big model


def fine_tuned(pruned: Classifier, data: Prepared, variant: str) -> Classifier:
    """A fine-tuned copy of the pruned model; from the cache where this was done before."""
    from tsbench.training.recipes import Recipe

    return _trained(pruned, data, variant, Recipe(epochs=EPOCHS, learning_rate=LEARNING_RATE))


def retrained(pruned: Classifier, data: Prepared, variant: str) -> Classifier:
    """A copy of the pruned model after the dataset's whole recipe, from the weights that are left; cached.

    Learning-rate rewinding (arXiv:2003.02389): the first rate again, and as many epochs as the model itself had.
    """
    from tsbench.training.recipes import recipe_for

    return _trained(pruned, data, variant, recipe_for(data.name, RETRAINED_AS))


def _trained(pruned: Classifier, data: Prepared, variant: str, recipe: Recipe) -> Classifier:
    from tsbench import checkpoints
    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256
    from tsbench.training.train import fit

    key = cache_key(data, weights=weights_sha256(pruned), recipe=asdict(recipe), zeros_stay=True)
    path = cache.folder() / "models" / f"{data.name}-{variant}-{key}.safetensors"
    tuned = deepcopy(pruned)
    if path.is_file():
        checkpoints.load_weights(path, tuned)
    else:
        with zeros_kept(tuned):
            fit(tuned, data, recipe)
        checkpoints.save_weights(path, tuned, {"recipe": asdict(recipe)})
    return tuned


@contextmanager
def zeros_kept(model: nn.Module) -> Iterator[None]:
    """While it lasts, weights of matrices and kernels that are exactly zero are not trained.

    Their gradients become zeros, and from those, decay included, AdamW makes steps of exactly
    zero; the gradient that is clipped is that of the weights which are left.
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

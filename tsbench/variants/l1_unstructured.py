"""Unstructured magnitude pruning: the weights with the smallest |w| become zeros.

The tensors keep their size and the dense kernels multiply by the zeros, so this is no faster
and no greener on CPU: it is here to show that. No fine-tuning.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from tsbench.variants import Variant, needs_nothing

if TYPE_CHECKING:
    from torch import nn

    from tsbench.model import Classifier
    from tsbench.train import Prepared

SPARSITY = 0.3  # of each weight matrix: PLAID's T1 goes from .892 to .886


def prune(model: Classifier, sparsity: float) -> Classifier:
    """A copy of the model with that share of every encoder weight matrix set to zero."""
    from torch.nn.utils import prune as torch_prune

    pruned = deepcopy(model).eval()
    for module, name in encoder_weights(pruned):
        torch_prune.l1_unstructured(module, name, amount=sparsity)
        torch_prune.remove(module, name)  # bake the mask in: a plain Parameter again
    return pruned


def encoder_weights(model: Classifier) -> list[tuple[nn.Module, str]]:
    """Every weight matrix of the encoder, as (module, parameter name)."""
    found = []
    for layer in model.encoder.layers:
        found += [
            (layer.self_attn, "in_proj_weight"),
            (layer.self_attn.out_proj, "weight"),
            (layer.linear1, "weight"),
            (layer.linear2, "weight"),
        ]
    return found


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classifier:
    """The model pruned to SPARSITY, otherwise the same stock modules."""
    return prune(model, SPARSITY)


VARIANT = Variant(
    "l1_unstructured", f"{SPARSITY:.0%} of the encoder's weights set to zero, same dense kernels",
    ("torch",), needs_nothing, make,
)

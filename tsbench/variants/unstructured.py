"""Unstructured magnitude pruning: the weights of the smallest magnitude become zeros.

The methods differ in the scope within which weights are compared: their own matrix, their whole
layer, or the whole model. Of our classifiers only the encoder is pruned: biases, norms, stem,
positions and head are 11 % of T1's parameters. Of another model, each weight of two or more
dimensions, or those whose names are like the setting `only`.

The tensors keep their size and the dense kernels multiply by the zeros. So none of these is
faster or greener on a CPU, nor smaller as a file: they are controls.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.variants import Variant
from tsbench.variants.built import Built, eager
from tsbench.variants.tuning import fine_tuning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from tsbench.variants.source import Source

# Of the compared weights. PLAID's T1 goes from .892 to .886 with l1_unstructured.
SPARSITY = 0.3
SCOPES = {
    "l1_unstructured": "matrix",
    "l2_unstructured": "matrix",
    "layerwise_magnitude": "layer",
    "global_magnitude": "encoder",
}


def prune(source: Source, sparsity: float, scope: str, only: str = "") -> nn.Module:
    """A copy of the model with that share of the weights in each scope set to zero.

    Exactly round(sparsity * weights) of each matrix, layer or model become zeros; among equal
    magnitudes, the first. `only`: a pattern of the names of the weights that are pruned.
    """
    import torch

    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be from 0 to 1, got {sparsity}")
    pruned = source.copy()
    with torch.no_grad():
        for weights in groups(source.of(pruned), scope, only):
            _zero_smallest(weights, sparsity)
    return pruned


def groups(source: Source, scope: str, only: str = "") -> list[list[nn.Parameter]]:
    """The weight matrices, in lists within which weights are compared."""
    layers = source.matrices(only)
    matrices = [weight for layer in layers for weight in layer]
    if not matrices:
        raise ValueError(f"no weight of two dimensions has a name like {only or '*'!r}")
    by_scope = {
        "matrix": [[weight] for weight in matrices],
        "layer": layers,
        "encoder": [matrices],
    }
    return by_scope[scope]


def make(
    method: str, source: Source, sparsity: float = SPARSITY, tuned: bool = False, only: str = ""
) -> Built:
    """The pruned model, of the same stock modules; fine-tuned if `tuned`."""
    pruned = prune(source, sparsity, SCOPES[method], only)
    if tuned:
        pruned = source.tuned(pruned, method, fine_tuning())
    weights = list(pruned.parameters())
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return eager(pruned, zero_share=zeros / sum(weight.numel() for weight in weights))


def _zero_smallest(weights: Sequence[nn.Parameter], sparsity: float) -> None:
    import torch

    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    zeroed = torch.zeros(len(magnitudes), dtype=torch.bool)
    zeroed[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = True
    for weight, part in zip(weights, zeroed.split([w.numel() for w in weights]), strict=True):
        weight[part.view_as(weight)] = 0


def _variant(method: str, weights: str) -> Variant:
    return Variant(
        method,
        f"{SPARSITY:.0%} of {weights} set to zero, same dense kernels",
        ("torch",),
        partial(make, method),
        {"sparsity": SPARSITY, "tuned": False, "only": ""},
    )


L1_UNSTRUCTURED = _variant("l1_unstructured", "each weight matrix")
# Single weights have the same order by L2 norm as by L1 norm: this is l1_unstructured under the
# other name that papers use.
L2_UNSTRUCTURED = _variant("l2_unstructured", "each weight matrix, by square,")
GLOBAL_MAGNITUDE = _variant("global_magnitude", "the encoder's weights, over all layers,")
LAYERWISE_MAGNITUDE = _variant("layerwise_magnitude", "each encoder layer's weights")

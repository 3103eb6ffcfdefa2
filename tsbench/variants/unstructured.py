"""Unstructured magnitude pruning: the encoder weights of the smallest magnitude become zeros.

The methods differ in the scope within which weights are compared: their own matrix, their whole
encoder layer, or the whole encoder. Biases, norms, stem, positions and head are not pruned;
together they are 11 % of T1's parameters.

The tensors keep their size and the dense kernels multiply by the zeros. So none of these is
faster or greener on a CPU, nor smaller as a file: they are controls.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING

from tsbench.variants import Variant
from tsbench.variants.tuning import fine_tuned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

# Of the compared weights. PLAID's T1 goes from .892 to .886 with l1_unstructured.
SPARSITY = 0.3
SCOPES = {
    "l1_unstructured": "matrix",
    "l2_unstructured": "matrix",
    "layerwise_magnitude": "layer",
    "global_magnitude": "encoder",
}


def prune(model: Classifier, sparsity: float, scope: str) -> Classifier:
    """A copy of the model with that share of the weights in each scope set to zero.

    Exactly round(sparsity * weights) of each matrix, layer or encoder become zeros; among equal
    magnitudes, the first.
    """
    import torch

    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be from 0 to 1, got {sparsity}")
    pruned = deepcopy(model).eval()
    with torch.no_grad():
        for weights in groups(pruned, scope):
            _zero_smallest(weights, sparsity)
    return pruned


def groups(model: Classifier, scope: str) -> list[list[nn.Parameter]]:
    """The encoder's weight matrices, in lists within which weights are compared."""
    from tsbench.model import encoder_layers

    layers = [[p for p in layer.parameters() if p.dim() == 2] for layer in encoder_layers(model)]
    matrices = [weight for layer in layers for weight in layer]
    by_scope = {
        "matrix": [[weight] for weight in matrices],
        "layer": layers,
        "encoder": [matrices],
    }
    return by_scope[scope]


def make(
    method: str,
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    sparsity: float = SPARSITY,
    tuned: bool = False,
) -> Classifier:
    """The pruned model, of the same stock modules; fine-tuned if `tuned`."""
    pruned = prune(model, sparsity, SCOPES[method])
    return fine_tuned(pruned, data, method) if tuned else pruned


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
        {"sparsity": SPARSITY, "tuned": False},
    )


L1_UNSTRUCTURED = _variant("l1_unstructured", "each weight matrix")
# Single weights have the same order by L2 norm as by L1 norm: this is l1_unstructured under the
# other name that papers use.
L2_UNSTRUCTURED = _variant("l2_unstructured", "each weight matrix, by square,")
GLOBAL_MAGNITUDE = _variant("global_magnitude", "the encoder's weights, over all layers,")
LAYERWISE_MAGNITUDE = _variant("layerwise_magnitude", "each encoder layer's weights")

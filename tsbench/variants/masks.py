"""Unstructured magnitude pruning: the encoder weights of the smallest magnitude become zeros.

The four methods differ in what a weight is compared with: those of its own matrix, of its whole
encoder layer, or of the whole encoder. Biases, norms, stem, positions and head are left alone:
together they are 11 % of T1's parameters.

The tensors keep their size and the dense kernels multiply by the zeros, so none of this is
faster or greener on a CPU, nor smaller as a file.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from tsbench.model import Classifier

# Of the weights that are compared; PLAID's T1 goes from .892 to .886 with l1_unstructured.
SPARSITY = 0.3
SETTINGS = {"sparsity": SPARSITY, "tuned": False}  # what each of the four takes
SCOPES = ("matrix", "layer", "encoder")


def prune(
    model: Classifier,
    sparsity: float,
    scope: str,
    magnitude: Callable[[Tensor], Tensor] | None = None,
) -> Classifier:
    """A copy of the model with that share of the weights in each scope set to zero.

    `magnitude` gives each weight's rank, by default |w|. Exactly round(sparsity * weights) of
    each matrix, layer or encoder become zeros, of equal ones the first.
    """
    import torch

    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be from 0 to 1, got {sparsity}")
    pruned = deepcopy(model).eval()
    with torch.no_grad():
        for weights in groups(pruned, scope):
            _zero_smallest(weights, sparsity, magnitude or torch.abs)
    return pruned


def groups(model: Classifier, scope: str) -> list[list[nn.Parameter]]:
    """The encoder's weight matrices, in lists of those whose weights are compared."""
    from tsbench.model import encoder_layers

    layers = [[p for p in layer.parameters() if p.dim() == 2] for layer in encoder_layers(model)]
    matrices = [weight for layer in layers for weight in layer]
    if scope == "matrix":
        return [[weight] for weight in matrices]
    if scope == "layer":
        return layers
    if scope == "encoder":
        return [matrices]
    raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")


def sparsity_of(weights: Sequence[Tensor]) -> float:
    """The share of zeros among all of these."""
    return sum(int((weight == 0).sum()) for weight in weights) / sum(
        weight.numel() for weight in weights
    )


def _zero_smallest(
    weights: list[nn.Parameter], sparsity: float, magnitude: Callable[[Tensor], Tensor]
) -> None:
    import torch

    ranks = torch.cat([magnitude(weight).flatten() for weight in weights])
    gone = torch.zeros(len(ranks), dtype=torch.bool)
    gone[ranks.argsort(stable=True)[: round(sparsity * len(ranks))]] = True
    for weight, part in zip(
        weights, gone.split([weight.numel() for weight in weights]), strict=True
    ):
        weight[part.view_as(weight)] = 0

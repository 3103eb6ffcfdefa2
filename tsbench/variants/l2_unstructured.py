"""Unstructured pruning by L2 norm: in each weight matrix, the smallest w² become zeros.

Of single weights the L2 norm orders as the L1 norm does, so this zeroes what l1_unstructured
zeroes: it is here because both are named side by side, and to show that they are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, masks, needs_nothing
from tsbench.variants.tuning import fine_tuned

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier


def prune(model: Classifier, sparsity: float) -> Classifier:
    """A copy of the model with that share of every encoder weight matrix set to zero."""
    import torch

    return masks.prune(model, sparsity, "matrix", torch.square)


def make(
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    sparsity: float = masks.SPARSITY,
    tuned: bool = False,
) -> Classifier:
    """The model pruned to that sparsity, otherwise the same stock modules; fine-tuned if asked."""
    pruned = prune(model, sparsity)
    return fine_tuned(pruned, data, "l2_unstructured") if tuned else pruned


VARIANT = Variant(
    "l2_unstructured",
    f"{masks.SPARSITY:.0%} of each weight matrix, by square, set to zero, same dense kernels",
    ("torch",),
    needs_nothing,
    make,
    masks.SETTINGS,
)

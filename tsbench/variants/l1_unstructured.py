"""Unstructured pruning by L1 norm: in each weight matrix, the smallest |w| become zeros.

No faster and no greener on CPU, see masks.py: it is here to show that.
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
    return masks.prune(model, sparsity, "matrix")


def make(
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    sparsity: float = masks.SPARSITY,
    tuned: bool = False,
) -> Classifier:
    """The model pruned to that sparsity, otherwise the same stock modules; fine-tuned if asked."""
    pruned = prune(model, sparsity)
    return fine_tuned(pruned, data, "l1_unstructured") if tuned else pruned


VARIANT = Variant(
    "l1_unstructured",
    f"{masks.SPARSITY:.0%} of each weight matrix set to zero, same dense kernels",
    ("torch",),
    needs_nothing,
    make,
    masks.SETTINGS,
)

"""Layer-wise magnitude pruning: in each encoder layer, the smallest |w| of all its matrices become zeros.

Every layer ends with the same sparsity, its matrices not: feed-forward and attention compete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, masks, needs_nothing
from tsbench.variants.tuning import fine_tuned

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier


def prune(model: Classifier, sparsity: float) -> Classifier:
    """A copy of the model with that share of every encoder layer's weights set to zero."""
    return masks.prune(model, sparsity, "layer")


def make(
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    sparsity: float = masks.SPARSITY,
    tuned: bool = False,
) -> Classifier:
    """The model pruned to that sparsity, otherwise the same stock modules; fine-tuned if asked."""
    pruned = prune(model, sparsity)
    return fine_tuned(pruned, data, "layerwise_magnitude") if tuned else pruned


VARIANT = Variant(
    "layerwise_magnitude",
    f"{masks.SPARSITY:.0%} of each encoder layer's weights set to zero, same dense kernels",
    ("torch",),
    needs_nothing,
    make,
    masks.SETTINGS,
)

"""Global magnitude pruning: the smallest |w| of the whole encoder become zeros.

One threshold for all layers, so those of small weights lose more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, masks, needs_nothing
from tsbench.variants.tuning import fine_tuned

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier


def prune(model: Classifier, sparsity: float) -> Classifier:
    """A copy of the model with that share of all the encoder's weights set to zero."""
    return masks.prune(model, sparsity, "encoder")


def make(
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    sparsity: float = masks.SPARSITY,
    tuned: bool = False,
) -> Classifier:
    """The model pruned to that sparsity, otherwise the same stock modules; fine-tuned if asked."""
    pruned = prune(model, sparsity)
    return fine_tuned(pruned, data, "global_magnitude") if tuned else pruned


VARIANT = Variant(
    "global_magnitude",
    f"{masks.SPARSITY:.0%} of the encoder's weights, over all layers, set to zero, same dense kernels",
    ("torch",),
    needs_nothing,
    make,
    masks.SETTINGS,
)

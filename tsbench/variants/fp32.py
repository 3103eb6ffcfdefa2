"""The baseline: stock eager torch with its default settings.

The encoder's fast path stays on, as it is for anyone who calls `model.eval()` under
inference mode: it changes what the others are compared with by up to 1.7x at batch 32.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from tsbench.variants import Variant, needs_nothing

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classifier:
    """A copy of the model, in eval mode."""
    return deepcopy(model).eval()


VARIANT = Variant(
    "fp32", "stock eager torch, default settings: the baseline", ("torch",), needs_nothing, make
)

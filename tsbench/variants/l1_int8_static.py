"""Unstructured L1 pruning, then static int8: the hybrid of arXiv:2502.16627.

The gain is int8's alone: its dense kernels multiply by the zeros as fp32's do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tsbench.variants import Variant, int8_static, l1_unstructured

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify


def make(model: Classifier, data: Prepared, batch_cases: int, **settings: Any) -> Classify:
    """What int8_static makes of what l1_unstructured makes; the settings are those of l1_unstructured."""
    return int8_static.make(
        l1_unstructured.make(model, data, batch_cases, **settings), data, batch_cases
    )


VARIANT = Variant(
    "l1_int8_static",
    "l1_unstructured, then int8_static: the paper's hybrid",
    int8_static.VARIANT.needs,
    partial(int8_static.check, "l1_int8_static"),
    make,
    l1_unstructured.VARIANT.settings,
)

"""Hybrids: a pruned model, then int8_static. The settings are those of the pruning.

After structured pruning or depth pruning there are fewer products, and int8 makes each cheaper.
After unstructured pruning (the hybrid of arXiv:2502.16627) all gain is from int8: its dense
kernels multiply by the zeros, as fp32's do.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tsbench.variants import Variant, depth, int8_static, l1_structured, unstructured

if TYPE_CHECKING:
    from tsbench.variants.built import Built
    from tsbench.variants.source import Source


def make(pruning: Variant, source: Source, **settings: Any) -> Built:
    """int8_static of the model that `pruning` makes with these settings."""
    pruned: Any = pruning.make(source, **settings)
    built = int8_static.make(source.of(pruned.call))
    return replace(built, removed_share=pruned.removed_share, zero_share=pruned.zero_share)


def _hybrid(name: str, pruning: Variant, remark: str = "") -> Variant:
    return Variant(
        name,
        f"{pruning.name}, then int8_static{remark}",
        int8_static.VARIANT.requirements,
        partial(make, pruning),
        pruning.settings,
        int8_static.VARIANT.check_machine,
    )


L1_STRUCTURED_INT8 = _hybrid("l1_structured_int8", l1_structured.VARIANT)
DEPTH_INT8 = _hybrid("depth_int8", depth.VARIANT)
L1_INT8_STATIC = _hybrid("l1_int8_static", unstructured.L1_UNSTRUCTURED, ": the paper's hybrid")

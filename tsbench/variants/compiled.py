"""Compiled by inductor, fp32: fused operators in C++, no Python between them.

Ahead of time, as int8_static: a cached file instead of 10 to 75 s of compiling in each process,
and calls without Python guards.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.variants import Variant, int8_static

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME = "compiled"


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model compiled for exactly this batch size; from the cache if it is there."""
    from tsbench.model import to_plain

    # Bare Linears, as int8_static compiles: the two differ in their arithmetic alone.
    return int8_static.compiled(
        NAME, lambda: to_plain(model, fused_attention=False).eval(), model, data, batch_cases
    )


VARIANT = Variant(
    NAME,
    "compiled by inductor ahead of time, fp32",
    ("torch", "g++"),
    partial(int8_static.check_compiler, NAME),
    make,
)

"""Compiled by inductor, fp32: fused operators in C++, no Python between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, _inductor

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME = "compiled"


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model compiled for exactly this batch size; cached."""
    from tsbench.model import to_plain

    # The layers that int8_static compiles: the two differ in arithmetic alone.
    return _inductor.compiled(
        NAME, lambda: to_plain(model, fused_attention=False).eval(), model, data, batch_cases
    )


VARIANT = Variant(
    NAME, "compiled by inductor ahead of time, fp32", ("torch", "g++"), make, same_function=True
)

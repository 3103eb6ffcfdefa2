"""Compiled by inductor, fp32: fused operators in C++, no Python between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, _inductor

if TYPE_CHECKING:
    from tsbench.variants.built import Built
    from tsbench.variants.source import Source

NAME = "compiled"


def make(source: Source) -> Built:
    """The model compiled for exactly these shapes of inputs."""
    # The layers that int8_static compiles: the two differ in arithmetic alone.
    return _inductor.compiled(
        NAME, lambda: source.exportable(source.plain(fused_attention=False)), source
    )


VARIANT = Variant(
    NAME, "compiled by inductor ahead of time, fp32", ("torch", "g++"), make, same_function=True
)

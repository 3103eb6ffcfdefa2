"""Ways of making a trained model cheaper to run, one file a technique.

A variant is a function from a trained model, the data and a batch size to a new callable
from x (batch, in_channels, timepoints) to logits (batch, n_classes). It never changes the
model that it is given, and shares no memory with it. What it needs and does not find is a
VariantUnavailable with the remedy.

A file here defines `VARIANT`; to add a technique, add a file and its name to `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from tsbench.errors import UnknownName

if TYPE_CHECKING:  # so that listing the variants loads no torch
    from torch import Tensor

    from tsbench.model import Classifier
    from tsbench.train import Prepared

    Classify = Callable[[Tensor], Tensor]

_MODULES = ("fp32", "int8_dynamic", "int8_static", "l1_unstructured", "l1_structured")


@dataclass(frozen=True)
class Variant:
    """A technique: what it is called, what it does in a line, what it needs, how it is made.

    `make(model, data, batch_cases)` gives the callable; `check()` raises VariantUnavailable
    where something is missing, and is called by `build` first.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    check: Callable[[], None]
    make: Callable[[Classifier, Prepared, int], Classify]

    def build(self, model: Classifier, data: Prepared, batch_cases: int) -> Classify:
        """The compressed model, for batches of exactly `batch_cases` cases."""
        self.check()
        return self.make(model, data, batch_cases)


def names() -> tuple[str, ...]:
    """The names of all variants, the baseline first."""
    return _MODULES


def get(name: str) -> Variant:
    """The variant of that name. Raises UnknownName."""
    if name not in _MODULES:
        raise UnknownName("variant", name, _MODULES)
    return import_module(f"tsbench.variants.{name}").VARIANT


def needs_nothing() -> None:
    """The `check` of a variant that torch alone can make."""

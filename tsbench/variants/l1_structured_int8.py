"""Three quarters of the heads and feed-forward channels cut out, then int8: fewer products, and cheaper ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tsbench.variants import Variant, int8_static, l1_structured

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify


def make(model: Classifier, data: Prepared, batch_cases: int, **settings: Any) -> Classify:
    """What int8_static makes of what l1_structured makes; the settings are those of l1_structured."""
    return int8_static.make(
        l1_structured.make(model, data, batch_cases, **settings), data, batch_cases
    )


VARIANT = Variant(
    "l1_structured_int8",
    "l1_structured, then int8_static",
    int8_static.VARIANT.needs,
    partial(int8_static.check, "l1_structured_int8"),
    make,
    l1_structured.VARIANT.settings,
)

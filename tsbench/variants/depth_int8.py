"""Half of the layers removed, then int8."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tsbench.variants import Variant, depth, int8_static

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify


def make(model: Classifier, data: Prepared, batch_cases: int, **settings: Any) -> Classify:
    """What int8_static makes of what depth makes; the settings are those of depth."""
    return int8_static.make(depth.make(model, data, batch_cases, **settings), data, batch_cases)


VARIANT = Variant(
    "depth_int8",
    "depth, then int8_static",
    int8_static.VARIANT.needs,
    partial(int8_static.check, "depth_int8"),
    make,
    depth.VARIANT.settings,
)

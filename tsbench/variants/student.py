"""Another, much smaller transformer, trained for the same task, on ONNX Runtime.

Which one is the dataset's plan's choice (recipes.py): fewer layers, heads and tokens, and a stem that fits the data. It is
trained from the same cases as the model that it takes the place of, and takes nothing from that model.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.requirements import require
from tsbench.variants import Variant, _onnx

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME = "student"


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The dataset's compact model on ONNX Runtime, for exactly this batch size. Trains it where there is none yet."""
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import compact_for

    return _onnx.session(
        _onnx.exported_to_run(trained_model(data, compact_for(data.name)), data, batch_cases)
    )


VARIANT = Variant(
    NAME,
    "a compact transformer in its place, on ONNX Runtime",
    _onnx.NEEDS,
    partial(require, NAME, _onnx.NEEDS),
    make,
)

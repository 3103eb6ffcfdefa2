"""Whether a variant computes the same function as the model that it was made from.

Engines and compilers claim it, and have been wrong: OpenVINO's logits were off by 0.9 for models
with as many heads as patches. So what claims it is checked each time it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants.calibration import calibration_batches

if TYPE_CHECKING:
    from torch import Tensor

    from tsbench.data.prepared import Prepared

# Fused operators add in another order: a T1's logits of about 10 differ by up to 1e-5.
TOLERANCE = 1e-3  # of the largest logit, or of 1 if that is larger
CHECKED_BATCHES = 2


def require_parity(
    variant: str,
    classify: Callable[[Tensor], Tensor],
    model: Callable[[Tensor], Tensor],
    data: Prepared,
    batch_cases: int,
) -> None:
    """Raises VariantUnavailable if `classify` differs from `model` on calibration cases."""
    difference, scale = largest_difference(classify, model, data, batch_cases)
    if not difference <= TOLERANCE * scale:  # nan is a difference
        raise VariantUnavailable(
            variant,
            f"its logits differ from the model's by up to {difference:.2g}, and "
            f"{TOLERANCE * scale:.2g} is allowed",
            "use another engine for this model",
        )


def largest_difference(
    classify: Callable[[Tensor], Tensor],
    model: Callable[[Tensor], Tensor],
    data: Prepared,
    batch_cases: int,
) -> tuple[float, float]:
    """The largest difference of two logits, and the largest logit or 1."""
    import torch

    difference, scale = 0.0, 1.0
    with torch.inference_mode():
        for batch in islice(calibration_batches(data, batch_cases), CHECKED_BATCHES):
            x = torch.from_numpy(batch)
            expected = model(x)
            found = (classify(x) - expected).abs().max().item()
            difference = found if not found <= difference else difference
            scale = max(scale, expected.abs().max().item())
    return difference, scale

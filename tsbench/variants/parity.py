"""Whether a variant computes the same function as the model that it was made from.

Engines and compilers claim it, and have been wrong: OpenVINO's logits were off by 0.9 for models
with as many heads as patches. So what claims it is checked each time it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.outputs import flat_outputs

if TYPE_CHECKING:
    from torch import Tensor

    from tsbench.variants.source import Source

    Inputs = tuple[Tensor, ...]

# Fused operators add in another order: a T1's logits of about 10 differ by up to 1e-5.
TOLERANCE = 1e-3  # of the largest output, or of 1 if that is larger
CHECKED_BATCHES = 2


def require_parity(variant: str, call: Callable[..., Any], source: Source) -> None:
    """Raises VariantUnavailable if `call` differs from the model on calibration batches."""
    batches = source.calibration[:CHECKED_BATCHES]
    difference = largest_difference(call, source.reference, batches)
    if not difference <= TOLERANCE:  # nan is a difference
        raise VariantUnavailable(
            variant,
            f"its outputs differ from the model's by up to {difference:.2g} of the largest output "
            f"(or of 1), and {TOLERANCE:g} is allowed",
            "use another engine for this model",
        )


def largest_difference(
    call: Callable[..., Any], reference: Callable[..., Any], batches: Sequence[Inputs]
) -> float:
    """The largest difference of two outputs, as a share of the largest output or of 1."""
    import torch

    worst, scale = 0.0, 1.0
    with torch.inference_mode():
        for inputs in batches:
            # Cloned: an engine may return its own memory, and a model its input.
            expected = [leaf.clone() for leaf in flat_outputs(reference(*inputs))]
            found = flat_outputs(call(*inputs))
            if [leaf.shape for leaf in expected] != [leaf.shape for leaf in found]:
                raise ValueError(
                    f"its outputs have the shapes {[tuple(leaf.shape) for leaf in found]}, not "
                    f"{[tuple(leaf.shape) for leaf in expected]}"
                )
            for one, other in zip(expected, found, strict=True):
                difference = (other.double() - one.double()).abs().max().item()
                worst = difference if not difference <= worst else worst
                scale = max(scale, one.double().abs().max().item())
    return worst / scale

"""Whether two models predict the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tsbench.outputs import scores

if TYPE_CHECKING:
    from torch import Tensor

    Inputs = tuple[Tensor, ...]

# Rounding to int8 changed up to 3 % of our classifiers' predictions (docs/paper.md). Below nine
# tenths another model answers, which somebody should ask for.
FLOOR = 0.9


def agreement(
    call: Callable[..., Any], reference: Callable[..., Any], batches: Sequence[Inputs]
) -> float:
    """The share of cases for which both predict the same class, from 0 to 1.

    If the first output is no scores of classes (cases, at least 2 classes), it is a prediction of
    numbers: then the share of its variance that `call` explains, at least 0.
    """
    import torch

    pairs = []
    with torch.inference_mode():
        for inputs in batches:
            expected = scores(reference(*inputs)).clone()
            pairs.append((expected, scores(call(*inputs)).clone()))
    expected, found = (torch.cat([pair[side].double() for pair in pairs]) for side in (0, 1))
    if expected.dim() == 2 and expected.shape[1] > 1:
        return (expected.argmax(dim=1) == found.argmax(dim=1)).double().mean().item()
    spread = (expected - expected.mean()).square().sum().item()
    error = (expected - found).square().sum().item()
    if not spread:
        return 1.0 if error == 0 else 0.0
    return max(0.0, 1 - error / spread)

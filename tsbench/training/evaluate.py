"""Accuracy of a model, and agreement of two models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsbench.outputs import scores

# Large enough to amortise calls, small enough for a core's cache.
EVALUATION_BATCH_CASES = 32


def batched_logits(
    classify: Callable[[Tensor], Any], x: Tensor, batch_cases: int = EVALUATION_BATCH_CASES
) -> Tensor:
    """Logits (cases, n_classes) of every case in x, computed batch by batch.

    `classify` may return a tensor, an array of numpy as scikit-learn does, or several of them, as
    ONNX Runtime and Hugging Face do: then its scores of classes, see `outputs.scores`.

    Every call gets exactly `batch_cases` cases, because a compiled or exported model may accept
    only one batch size. The last batch is filled up, and the filling's logits are dropped.
    """
    if batch_cases < 1 or len(x) < 1:
        raise ValueError(f"cannot evaluate {len(x)} cases in batches of {batch_cases}")
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(x), batch_cases):
            batch = x[start : start + batch_cases]
            missing = batch_cases - len(batch)
            if missing:
                batch = torch.cat([batch, batch[:1].expand(missing, *batch.shape[1:])])
            # The next call may overwrite an engine's own output buffer.
            outputs.append(scores(classify(batch))[: batch_cases - missing].clone())
    return torch.cat(outputs)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of cases whose highest logit is the right class, from 0 to 1."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


def agreement(logits: Tensor, other: Tensor) -> float:
    """The share of cases for which two models predict the same class, from 0 to 1."""
    return (logits.argmax(dim=1) == other.argmax(dim=1)).double().mean().item()

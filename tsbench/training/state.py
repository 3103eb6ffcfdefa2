"""Everything that the next epoch of a training depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tsbench.model import Classifier


@dataclass
class TrainingState:
    """The state between two epochs; saving and restoring it is all that resuming needs."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    torch_rng: Tensor  # the generator state that dropout draws from
    step: int = 0
    epoch: int = 0
    validation_accuracy: float | None = None  # after that epoch, where cases are held out
    # Early stopping: the epoch that did best on the cases held out, and its weights.
    best_accuracy: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

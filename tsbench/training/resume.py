"""An interrupted training resumes after its last epoch, and ends with the same weights.

After an epoch, everything that the next one depends on is written to one safetensors file. It is
written atomically, and deleted when training ends.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from tsbench import checkpoints
from tsbench.data import cache
from tsbench.errors import CheckpointError
from tsbench.model import Classifier
from tsbench.training.training_cost import TrainingCost

FORMAT = "tsbench-training-1"
# The share of the time that saving may take: after a short epoch, an fsync would dominate.
SAVING_SHARE = 0.05


@dataclass
class TrainingState:
    """Everything that the next epoch of a training depends on."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    torch_rng: Tensor  # the generator state that dropout draws from
    step: int = 0
    epoch: int = 0
    validation_accuracy: float | None = None  # after `epoch`; None without held-out cases
    # For early stopping: the epoch with the best validation accuracy, and its weights.
    best_accuracy: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class ResumeFile:
    """The file that holds the state of one training between two epochs, and its cost so far."""

    def __init__(self, path: Path, cost: TrainingCost):
        self.path, self.cost = path, cost
        self._next_save_at_s = 0.0  # monotonic: the first epoch is always saved

    def restore(self, state: TrainingState) -> float:
        """Fills `state` from the file, if it exists. Returns the CPU-seconds already spent.

        Raises CheckpointError, which names the file, if the file holds something else.
        """
        if not self.path.is_file():
            return 0.0
        tensors, metadata = checkpoints.read_tensors(self.path)
        try:
            if metadata.get("format") != FORMAT:
                raise ValueError(f"format {metadata.get('format')!r}, expected {FORMAT!r}")
            saved = json.loads(metadata["state"])
            _fill(state, tensors, saved)
            self.cost.add_earlier(saved["joules"], saved["provenance"])
            return float(saved["cpu_seconds"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                self.path, f"training cannot resume from it ({error}); delete it to start over"
            ) from None

    def save(self, state: TrainingState, cpu_seconds: float) -> None:
        """Writes the state, unless the last write was too recent (see SAVING_SHARE)."""
        started_s = time.monotonic()
        if started_s < self._next_save_at_s:
            return
        saved = {
            "step": state.step,
            "epoch": state.epoch,
            "numpy_rng": state.rng.bit_generator.state,
            "validation_accuracy": state.validation_accuracy,
            "best_accuracy": state.best_accuracy,
            "best_epoch": state.best_epoch,
            "cpu_seconds": cpu_seconds,
            "joules": self.cost.joules,
            "provenance": self.cost.provenance,
        }
        content = to_bytes(_tensors(state), {"format": FORMAT, "state": json.dumps(saved)})
        cache.write_atomically(self.path, content)
        ended_s = time.monotonic()
        self._next_save_at_s = ended_s + (ended_s - started_s) / SAVING_SHARE

    def delete(self) -> None:
        """Deletes the file. Call it when training has ended."""
        self.path.unlink(missing_ok=True)


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor of the state under one flat name."""
    named = {"torch_rng": state.torch_rng}
    named.update({f"model.{name}": tensor for name, tensor in state.model.state_dict().items()})
    named.update({f"best.{name}": tensor for name, tensor in state.best_weights.items()})
    for index, values in state.optimizer.state_dict()["state"].items():
        named.update({f"optimizer.{index}.{key}": tensor for key, tensor in values.items()})
    return {name: tensor.contiguous() for name, tensor in named.items()}


def _fill(state: TrainingState, tensors: dict[str, Tensor], saved: dict[str, Any]) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    state.model.load_state_dict(parts["model"])
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        slots.setdefault(int(index), {})[key] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    state.rng.bit_generator.state = saved["numpy_rng"]
    state.torch_rng = tensors["torch_rng"].to(torch.uint8)
    state.step, state.epoch = saved["step"], saved["epoch"]
    state.validation_accuracy = saved["validation_accuracy"]
    state.best_weights = parts["best"]
    state.best_accuracy, state.best_epoch = saved["best_accuracy"], saved["best_epoch"]

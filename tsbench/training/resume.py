"""Training that was killed goes on where it was, to the very same weights.

After an epoch everything that the next one depends on goes into one safetensors file, written
whole or not at all, which is deleted when training ends.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from tsbench import checkpoints
from tsbench.data import cache
from tsbench.errors import CheckpointError
from tsbench.training.state import TrainingState
from tsbench.training.training_cost import Count

FORMAT = "tsbench-training-1"
# Saving may take this share of the time: with short epochs not each is worth its fsync.
SAVING_SHARE = 0.05


class Keeper:
    """Keeps the state of one training in the file `path`, and what it has cost so far."""

    def __init__(self, path: Path, count: Count):
        self.path, self.count = path, count
        self._next_save_at_s = 0.0  # monotonic: the first epoch is always saved

    def restore(self, state: TrainingState) -> float:
        """Fills `state` from the file, if there is one; the CPU-seconds spent before.

        Raises CheckpointError, which names the file, if it holds something else.
        """
        if not self.path.is_file():
            return 0.0
        tensors, metadata = checkpoints.read_tensors(self.path)
        try:
            if metadata.get("format") != FORMAT:
                raise ValueError(f"format {metadata.get('format')!r}, expected {FORMAT!r}")
            said = json.loads(metadata["state"])
            _fill(state, tensors, said)
            self.count.go_on_from(said["joules"], said["provenance"])
            return float(said["cpu_seconds"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                self.path, f"cannot go on from it ({error}): delete it to start over"
            ) from None

    def save(self, state: TrainingState, cpu_seconds: float) -> None:
        """Writes the state, unless it was written too short a time ago."""
        started_s = time.monotonic()
        if started_s < self._next_save_at_s:
            return
        said = {
            "step": state.step,
            "epoch": state.epoch,
            "numpy_rng": state.rng.bit_generator.state,
            "validation_accuracy": state.validation_accuracy,
            "best_accuracy": state.best_accuracy,
            "best_epoch": state.best_epoch,
            "cpu_seconds": cpu_seconds,
            "joules": self.count.joules,
            "provenance": self.count.provenance,
        }
        content = to_bytes(_tensors(state), {"format": FORMAT, "state": json.dumps(said)})
        cache.write_atomically(self.path, content)
        ended_s = time.monotonic()
        self._next_save_at_s = ended_s + (ended_s - started_s) / SAVING_SHARE

    def forget(self) -> None:
        """Deletes the file: training has ended."""
        self.path.unlink(missing_ok=True)


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor of the state under one flat name."""
    named = {"torch_rng": state.torch_rng}
    named.update({f"model.{name}": tensor for name, tensor in state.model.state_dict().items()})
    named.update({f"best.{name}": tensor for name, tensor in state.best_weights.items()})
    for index, values in state.optimizer.state_dict()["state"].items():
        named.update({f"optimizer.{index}.{key}": tensor for key, tensor in values.items()})
    return {name: tensor.contiguous() for name, tensor in named.items()}


def _fill(state: TrainingState, tensors: dict[str, Tensor], said: dict) -> None:
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
    state.rng.bit_generator.state = said["numpy_rng"]
    state.torch_rng = tensors["torch_rng"].to(torch.uint8)
    state.step, state.epoch = said["step"], said["epoch"]
    state.validation_accuracy = said["validation_accuracy"]
    state.best_weights = parts["best"]
    state.best_accuracy, state.best_epoch = said["best_accuracy"], said["best_epoch"]

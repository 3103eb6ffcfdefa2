"""Trained models as safetensors files, each with a model card beside it.

A file holds the weights and, in its metadata, the ModelConfig and where the model came from,
as JSON. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tsbench.data import cache
from tsbench.errors import CheckpointError
from tsbench.model import Classifier, ModelConfig

SHIPPED_FOLDER = Path(__file__).parent
FORMAT = "tsbench-1"
LATER_FIELDS = {"window_stem"}  # of ModelConfig: an older file lacks them, and has their defaults


@dataclass(frozen=True)
class Checkpoint:
    """A model in eval mode, and what its file says of where it came from."""

    model: Classifier
    about: dict[str, Any]
    path: Path


def save(path: Path, model: Classifier, about: dict[str, object]) -> None:
    """Writes the model, whole or not at all; `about` must be JSON."""
    save_weights(path, model, {"config": asdict(model.config), "about": about})


def load(path: Path) -> Checkpoint:
    """The model that `path` holds. Raises CheckpointError, which names the file."""
    weights, metadata = read_tensors(path)
    config, about = _parse(path, metadata)
    model = Classifier(config)
    _fill(path, model, weights)
    return Checkpoint(model, about, path)


def save_weights(path: Path, model: nn.Module, about: dict[str, object]) -> None:
    """Writes the weights of any module; each value of `about` becomes JSON metadata."""
    metadata = {key: json.dumps(value, sort_keys=True) for key, value in about.items()}
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    cache.write_atomically(path, to_bytes(weights, {"format": FORMAT, **metadata}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Fills `model`, built to the right shape already, and sets it to eval mode."""
    _fill(path, model, read_tensors(path)[0])


def _fill(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # names and shapes of what does not fit
        raise CheckpointError(path, f"weights do not fit the model: {error}") from None
    model.eval()


def shipped(dataset: str, config: str) -> Path | None:
    """The path of the checkpoint in this package, or None where there is none."""
    for path in list_shipped():
        if path.stem.lower() == f"{dataset}-{config}".lower():
            return path
    return None


def list_shipped() -> list[Path]:
    """The checkpoints in this package, sorted."""
    return sorted(SHIPPED_FOLDER.glob("*.safetensors"))


def read_about(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Config and origin of a checkpoint, without building its model."""
    return _parse(path, read_tensors(path, values_too=False)[1])


def read_tensors(path: Path, values_too: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of any safetensors file. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(path, "no such file")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if values_too else ()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"corrupt, or not safetensors: {error}") from None


def _parse(path: Path, metadata: dict[str, str]) -> tuple[ModelConfig, dict[str, Any]]:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(path, f"format {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        values = json.loads(metadata["config"])
        about = json.loads(metadata["about"])
        if set(values) | LATER_FIELDS != {field.name for field in fields(ModelConfig)}:
            raise ValueError(f"config has the fields {sorted(values)}")
        return ModelConfig(**values), about
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(path, f"metadata cannot be used: {error}") from None

"""Trained models as safetensors files, each with a model card beside it.

A file holds the weights and, in its metadata, the ModelConfig and the model's origin as JSON.
Nothing is unpickled. A file may come from anybody: its config is checked against its weights
before a model of that config is built.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tsbench.data import cache
from tsbench.errors import CheckpointError
from tsbench.model import Classifier, ModelConfig

SHIPPED_FOLDER = Path(__file__).parent
FORMAT = "tsbench-1"
HEADER_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header
LATER_FIELDS = {
    "window_stem",
    "forerunner",
}  # of ModelConfig: older files lack them and have the defaults
# A malformed file makes json raise RecursionError, and torch the others.
MALFORMED = (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class Checkpoint:
    """A model in eval mode, and the record of its origin."""

    model: Classifier
    about: dict[str, Any]
    path: Path


def save(path: Path, model: Classifier, about: dict[str, object]) -> None:
    """Writes the model atomically; `about` must be JSON."""
    save_weights(path, model, {"config": asdict(model.config), "about": about})


def load(path: Path) -> Checkpoint:
    """The model that `path` holds. Raises CheckpointError, which names the file."""
    return _checkpoint(path, *read_tensors(path))


def loads(content: bytes, path: Path) -> Checkpoint:
    """The model of a file with this content. `path` is its name in errors."""
    try:
        weights = from_bytes(content)
        length = int.from_bytes(content[:HEADER_LENGTH_BYTES], "little")
        header = json.loads(content[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    except (SafetensorError, *MALFORMED) as error:
        raise CheckpointError(path, f"corrupt, or not safetensors: {error}") from None
    return _checkpoint(path, weights, header.get("__metadata__") or {})


def _checkpoint(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> Checkpoint:
    config, about = _parse(path, metadata)
    _check_shapes(path, config, weights)
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
    except RuntimeError as error:  # with the names and shapes
        raise CheckpointError(path, f"weights do not fit the model: {error}") from None
    model.eval()


def shipped(dataset: str, config: str) -> Path | None:
    """The path of the checkpoint in this package, or None."""
    for path in list_shipped():
        if path.stem.lower() == f"{dataset}-{config}".lower():
            return path
    return None


def list_shipped() -> list[Path]:
    """The checkpoints in this package, sorted."""
    return sorted(SHIPPED_FOLDER.glob("*.safetensors"))


def read_about(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Config and origin of a checkpoint, without its model."""
    return _parse(path, read_tensors(path, with_values=False)[1])


def read_tensors(path: Path, with_values: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of any safetensors file. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(path, "no such file")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if with_values else ()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"corrupt, or not safetensors: {error}") from None


def _parse(path: Path, metadata: dict[str, str]) -> tuple[ModelConfig, dict[str, Any]]:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(path, f"format {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        values: dict[str, Any] = _object(metadata, "config")
        about = _object(metadata, "about")
        types: dict[str, type] = {f.name: type(f.default) for f in fields(ModelConfig)}
        if set(values) | LATER_FIELDS != set(types):
            raise ValueError(f"config has the fields {sorted(values)}")
        for name, value in values.items():
            least = 1 if types[name] is int else 0
            wrong_type = type(value) is not types[name]
            if wrong_type or not value >= least:
                raise ValueError(f"config has {name} {value!r}")
        return ModelConfig(**values), about
    except MALFORMED as error:
        raise CheckpointError(path, f"metadata is invalid: {error}") from None


def _object(metadata: dict[str, str], key: str) -> dict[str, Any]:
    value = json.loads(metadata[key])
    if not isinstance(value, dict):
        raise TypeError(f"{key} is of type {type(value).__name__}, expected an object")
    return value


def _check_shapes(path: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Raises CheckpointError if a model of this config has other weights than the file.

    Building it could otherwise take any amount of time and memory: the file chooses the config.
    """
    if config.n_layers > len(weights):
        raise CheckpointError(
            path,
            f"weights do not fit the model: {config.n_layers} layers, {len(weights)} tensors",
        )
    try:
        with torch.device("meta"):  # shapes without memory
            expected = {key: value.shape for key, value in Classifier(config).state_dict().items()}
    except MALFORMED as error:  # sizes beyond what torch can count
        raise CheckpointError(path, f"config cannot be built: {error}") from None
    found = {name: tensor.shape for name, tensor in weights.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            shapes = [
                None if s is None else tuple(s) for s in (found.get(name), expected.get(name))
            ]
            raise CheckpointError(
                path,
                f"weights do not fit the model: {name} has shape {shapes[0]}, not {shapes[1]}",
            )

"""Trained models: shipped with tsbench, loaded from the cache, or trained now and cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from tsbench import checkpoints
from tsbench.data import cache
from tsbench.data.prepared import Prepared
from tsbench.model import Classifier, ModelConfig, config_for
from tsbench.training.recipes import Recipe, plan_of
from tsbench.training.resume import ResumeFile
from tsbench.training.train import TRAINING_VERSION, EpochReport, Teacher, TrainResult, train
from tsbench.training.training_cost import training_cost


def trained_model(data: Prepared, config: str) -> Classifier:
    """The shipped model if it was trained on this very data, else `train_by_plan`'s.

    Raises UnknownName for an unknown config.
    """
    path = checkpoints.shipped(data.name, config)
    if path is not None:
        shipped = checkpoints.load(path)
        alike = shipped.model.config.in_channels == data.train_x.shape[1]
        if alike and shipped.about["data_sha256"] == data.fingerprint:
            return shipped.model
    return train_by_plan(data, config).model


def train_by_plan(
    data: Prepared, config: str, seed: int = 0, epochs: int | None = None
) -> TrainResult:
    """The model of this config by the dataset's recipe, `epochs` instead of its own if given.

    Where the plan names a teacher, that is the model of the same seed. Trains what is not cached.
    """
    plan = plan_of(data.name)
    recipe = replace(plan.recipe_for(config), seed=seed)
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    teacher = None
    if plan.teacher_for(config):
        teacher = train_by_plan(data, plan.teacher_for(config), seed, epochs).model
        recipe = replace(recipe, teacher_sha256=teacher_sha256(teacher))
    return load_or_train(data, config_of(data, config), recipe, teacher=teacher)


def config_of(data: Prepared, config: str) -> ModelConfig:
    """The named config for this data. Raises UnknownName."""
    _, in_channels, timepoints = data.train_x.shape
    return config_for(config, in_channels, timepoints, len(data.classes))


def load_or_train(
    data: Prepared,
    config: ModelConfig,
    recipe: Recipe,
    on_epoch: Callable[[EpochReport], None] | None = None,
    teacher: Teacher | None = None,
) -> TrainResult:
    """The cached model of this data, config and recipe, else one trained now and cached.

    An interrupted training resumes. The result holds the joules that training cost.
    """
    path = cached_path(data, config, recipe)
    resumed_from = cache.folder() / "partial" / path.name
    if path.is_file():
        resumed_from.unlink(missing_ok=True)  # a kill came between the two last lines
        saved = checkpoints.load(cache.used(path))
        costs = {
            key: saved.about[key]
            for key in ("validation_accuracy", "cpu_seconds", "epochs", "joules", "provenance")
        }
        return TrainResult(saved.model, recipe, cached=True, **costs)
    for folder in (path.parent, resumed_from.parent):
        cache.delete_parts(folder)
    with training_cost() as cost:
        resume_file = ResumeFile(resumed_from, cost)
        result = train(data, config, recipe, on_epoch, teacher, resume_file)
        result = replace(result, joules=cost.joules, provenance=cost.provenance)
    checkpoints.save(path, result.model, about_training(data, result))
    cache.used(path)
    resume_file.delete()
    return result


def cached_path(data: Prepared, config: ModelConfig, recipe: Recipe) -> Path:
    """The file of `load_or_train`, named by a hash of data, config and recipe."""
    key = cache_key(data, config=asdict(config), recipe=asdict(recipe))
    return cache.folder() / cache.MODELS / f"{data.name}-{key}.safetensors"


def cache_key(data: Prepared, **inputs: object) -> str:
    """A hash that changes with the data, with the training code and with `inputs`."""
    named = {
        "version": TRAINING_VERSION,
        "data": data.fingerprint,
        "x": (*data.train_x.shape, data.rate),
        **inputs,
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]


def weights_sha256(model: nn.Module) -> str:
    """A hash of every weight and buffer of the model, for cache keys."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def teacher_sha256(teacher: Teacher) -> str:
    """A hash of a teacher's weights or answers, for cache keys."""
    if isinstance(teacher, nn.Module):
        return weights_sha256(teacher)
    return hashlib.sha256(repr(teacher.shape).encode() + teacher.tobytes()).hexdigest()


def about_training(data: Prepared, result: TrainResult) -> dict[str, object]:
    """What a checkpoint records of its origin."""
    return {
        "dataset": data.name,
        "classes": list(data.classes),
        "data_sha256": data.fingerprint,
        "recipe": asdict(result.recipe),
        "training_version": TRAINING_VERSION,
        "torch_version": str(torch.__version__),
        "cpu_seconds": result.cpu_seconds,
        "epochs": result.epochs,
        "joules": result.joules,
        "provenance": result.provenance,
        "validation_accuracy": result.validation_accuracy,
    }

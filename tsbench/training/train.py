"""Training, the same each time: one thread, one seed, one recipe.

    prepared = prepare(dataset, timepoints)             arrays for a model
    result = train(prepared, config, recipe)            always trains
    result = train_cached(prepared, config, recipe)     trains once

Killed half-way and started again, `train_cached` goes on with the epoch it was in, and ends
with the same weights, bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tsbench import checkpoints
from tsbench.data import cache, preprocess
from tsbench.data.datasets import Dataset, Split
from tsbench.model import Classifier, ModelConfig
from tsbench.threads import one_thread
from tsbench.training.evaluate import accuracy, batched_logits
from tsbench.training.resume import ResumeFile, TrainingState
from tsbench.training.training_cost import training_cost

# Counts up whenever preprocessing, model or training change what a recipe leads to; old cache
# entries are then no longer found.
TRAINING_VERSION = 4
# Distillation: half of the loss is against the teacher's softened answer, as in Hinton et al.
# (arXiv:1503.02531), where a temperature of 2 suits small students.
TEACHER_SHARE = 0.5
TEACHER_TEMPERATURE = 2.0
# What a model learns from: another of ours, which answers each batch as it is augmented, or the probabilities
# of each training case, (cases, classes), of one from elsewhere (see rocket.py).
Teacher = nn.Module | np.ndarray
MAX_GRADIENT_NORM = 1.0  # the usual clip for transformers; early steps of post-warm-up spike


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are those of a dataset without a recipe of its own."""

    epochs: int = 60
    batch_cases: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.1  # of all steps: linear rise, then a half cosine down to 0
    label_smoothing: float = 0.1
    shift: bool = True  # preprocess.circular_shift as augmentation
    splice: float = 0.0  # preprocess.splice's concentration; 0: none
    validation_share: float = 0.0  # held out of the training split, to choose a recipe by
    validation_block: int = 1  # cases held out together, see preprocess.stratified_split
    patience: int = 0  # epochs without a better validation accuracy until it stops early; 0: never
    teacher_sha256: str = ""  # teacher_sha256 of what it learns from, if it does
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patience and not self.validation_share:
            raise ValueError("early stopping (patience) needs cases held out (validation_share)")


@dataclass(frozen=True)
class Prepared:
    """A dataset as model input: x float32 (cases, in_channels, timepoints), y int64 (cases,)."""

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to; `validation_accuracy` is None where nothing is held out."""

    epoch: int  # counts from 1
    loss: float  # mean over the epoch's cases
    validation_accuracy: float | None


@dataclass(frozen=True)
class TrainResult:
    """A trained model, and what making it cost: in this process, or when it was made.

    `validation_accuracy` is that of these weights: the best epoch's with early stopping. The
    joules are the machine's, gross; None where nothing counted them.
    """

    model: Classifier
    recipe: Recipe
    validation_accuracy: float | None
    cpu_seconds: float
    epochs: int  # fewer than the recipe's where it stopped early
    joules: float | None = None
    provenance: str = ""
    cached: bool = False


def prepare(dataset: Dataset, timepoints: int) -> Prepared:
    """The dataset's two splits as arrays of `timepoints`."""

    def arrays(split: Split) -> np.ndarray:
        return preprocess.to_array(split.cases, timepoints)

    return Prepared(
        dataset.name,
        dataset.fingerprint,
        dataset.classes,
        arrays(dataset.train),
        dataset.train.labels,
        torch.from_numpy(arrays(dataset.test)),
        torch.from_numpy(dataset.test.labels),
    )


def train(
    data: Prepared,
    config: ModelConfig,
    recipe: Recipe,
    on_epoch: Callable[[EpochReport], None] | None = None,
    teacher: Teacher | None = None,
    resume_file: ResumeFile | None = None,
) -> TrainResult:
    """A model trained from scratch by `recipe`; the same arguments give the same weights.

    `on_epoch` is called after each epoch. If `resume_file` holds an interrupted run, training
    resumes from it. Training never uses the test split.
    """
    with _one_thread_seeded(recipe.seed):
        model = Classifier(config)
        return fit(model, data, recipe, on_epoch, teacher, resume_file)


def fit(
    model: Classifier,
    data: Prepared,
    recipe: Recipe,
    on_epoch: Callable[[EpochReport], None] | None = None,
    teacher: Teacher | None = None,
    resume_file: ResumeFile | None = None,
) -> TrainResult:
    """Trains `model` itself, from the weights it has: train's second half, and fine-tuning."""
    started = time.process_time()
    rng = np.random.default_rng(recipe.seed)
    kept, held_out = kept_and_held_out(data.train_y, recipe, rng)
    with _one_thread_seeded(recipe.seed):
        state = TrainingState(model, _optimizer(model, recipe), rng, torch.get_rng_state())
        if resume_file is not None:
            started -= resume_file.restore(state)
        labels = _shared(data.train_y, teacher) if isinstance(teacher, np.ndarray) else data.train_y
        asked = teacher if isinstance(teacher, nn.Module) else None
        while state.epoch < recipe.epochs and not _stale(state, recipe):
            loss = run_epoch(state, data.train_x[kept], labels[kept], recipe, asked)
            if len(held_out):
                model.eval()
                logits = batched_logits(model, torch.from_numpy(data.train_x[held_out]))
                reached = accuracy(logits, torch.from_numpy(data.train_y[held_out]))
                state.validation_accuracy = reached
                if recipe.patience and reached > state.best_accuracy:
                    state.best_accuracy, state.best_epoch = reached, state.epoch
                    state.best_weights = {k: v.clone() for k, v in model.state_dict().items()}
            if resume_file is not None:
                resume_file.save(state, time.process_time() - started)
            if on_epoch is not None:
                on_epoch(EpochReport(state.epoch, loss, state.validation_accuracy))
        if recipe.patience:
            model.load_state_dict(state.best_weights)
            state.validation_accuracy = state.best_accuracy
    model.eval()
    return TrainResult(
        model, recipe, state.validation_accuracy, time.process_time() - started, state.epoch
    )


def kept_and_held_out(
    labels: np.ndarray, recipe: Recipe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the cases that are trained on, and of those that only choose; `rng` is a fresh one of the recipe's seed."""
    if recipe.validation_share:
        return preprocess.stratified_split(
            labels, recipe.validation_share, rng, recipe.validation_block
        )
    return np.arange(len(labels)), np.array([], dtype=np.int64)


def _shared(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The labels as probabilities, float32 (cases, classes), with the teacher's share of its answers."""
    one_hot = np.eye(answers.shape[1], dtype=np.float32)[labels]
    return (1 - TEACHER_SHARE) * one_hot + TEACHER_SHARE * answers


def _stale(state: TrainingState, recipe: Recipe) -> bool:
    return bool(recipe.patience) and state.epoch - state.best_epoch >= recipe.patience


def run_epoch(
    state: TrainingState,
    x: np.ndarray,
    y: np.ndarray,
    recipe: Recipe,
    teacher: nn.Module | None = None,
) -> float:
    """Advances `state` by one pass over the cases; the mean loss. `y` are labels, (cases,), or probabilities, (cases, classes)."""
    torch.set_rng_state(state.torch_rng)
    n_batches = -(-len(x) // recipe.batch_cases)
    order = state.rng.permutation(len(x))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    state.model.train()
    total = 0.0
    for chosen in np.array_split(order, n_batches):
        batch = x[chosen]
        if recipe.shift:
            batch = preprocess.circular_shift(batch, state.rng)
        rate = learning_rate(state.step, recipe.epochs * n_batches, recipe)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        labels = y[chosen]
        if recipe.splice:
            batch, others, share = preprocess.splice(batch, recipe.splice, state.rng)
        inputs = torch.from_numpy(batch)
        logits = state.model(inputs)
        loss = criterion(logits, torch.from_numpy(labels))
        if recipe.splice:
            loss = share * loss + (1 - share) * criterion(logits, torch.from_numpy(labels[others]))
        if teacher is not None:
            loss = (1 - TEACHER_SHARE) * loss + TEACHER_SHARE * distillation_loss(
                logits, teacher, inputs
            )
        state.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), MAX_GRADIENT_NORM)
        state.optimizer.step()
        state.step += 1
        total += loss.item() * len(chosen)
    state.epoch += 1
    state.torch_rng = torch.get_rng_state()
    return total / len(x)


def distillation_loss(logits: Tensor, teacher: nn.Module, x: Tensor) -> Tensor:
    """KL divergence from the teacher's softened answer on x, (batch, channels, timepoints).

    Times temperature squared, which keeps the gradient's size (arXiv:1503.02531).
    """
    with torch.no_grad():
        target = nn.functional.log_softmax(teacher(x) / TEACHER_TEMPERATURE, dim=1)
    answer = nn.functional.log_softmax(logits / TEACHER_TEMPERATURE, dim=1)
    divergence = nn.functional.kl_div(answer, target, reduction="batchmean", log_target=True)
    return divergence * TEACHER_TEMPERATURE**2


def learning_rate(step: int, n_steps: int, recipe: Recipe) -> float:
    """The rate at `step` (from 0): a linear rise, then half a cosine down to almost 0."""
    n_warmup = max(round(recipe.warmup_share * n_steps), 1)
    if step < n_warmup:
        return recipe.learning_rate * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(n_steps - n_warmup, 1)
    return recipe.learning_rate * 0.5 * (1 + cos(pi * progress))


def train_cached(
    data: Prepared,
    config: ModelConfig,
    recipe: Recipe,
    on_epoch: Callable[[EpochReport], None] | None = None,
    teacher: Teacher | None = None,
) -> TrainResult:
    """Like `train`, but takes the model from the cache where it has been trained before.

    Goes on from where an earlier call was killed, and counts joules where something can.
    """
    path = cached_path(data, config, recipe)
    if path.is_file():
        saved = checkpoints.load(path)
        costs = {
            key: saved.about[key]
            for key in ("validation_accuracy", "cpu_seconds", "epochs", "joules", "provenance")
        }
        return TrainResult(saved.model, recipe, cached=True, **costs)
    with training_cost() as cost:
        resume_file = ResumeFile(cache.folder() / "partial" / path.name, cost)
        result = train(data, config, recipe, on_epoch, teacher, resume_file)
        result = replace(result, joules=cost.joules, provenance=cost.provenance)
    checkpoints.save(path, result.model, about_training(data, result))
    resume_file.delete()
    return result


def cached_path(data: Prepared, config: ModelConfig, recipe: Recipe) -> Path:
    """Where `train_cached` keeps the model: named by a hash of data, config and recipe."""
    key = cache_key(data, config=asdict(config), recipe=asdict(recipe))
    return cache.folder() / "models" / f"{data.name}-{key}.safetensors"


def cache_key(data: Prepared, **what: object) -> str:
    """A hash that differs whenever the data, the training code or `what` do."""
    named = {"version": TRAINING_VERSION, "data": data.fingerprint, "x": data.train_x.shape, **what}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]


def weights_sha256(model: nn.Module) -> str:
    """A hash of every weight and buffer of the model, to key caches with."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def teacher_sha256(teacher: Teacher) -> str:
    """A hash of what a teacher is, to key caches with."""
    if isinstance(teacher, nn.Module):
        return weights_sha256(teacher)
    return hashlib.sha256(repr(teacher.shape).encode() + teacher.tobytes()).hexdigest()


def about_training(data: Prepared, result: TrainResult) -> dict[str, object]:
    """What a checkpoint says of where it came from."""
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


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    # Biases, norms and positions are not decayed: pulling them to 0 regularises nothing.
    decayed = [p for p in model.parameters() if p.dim() == 2 or p.dim() == 3 and p.shape[0] > 1]
    chosen = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in chosen]
    # fused: one call for all of the ~110 small tensors instead of several for each.
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        fused=True,
    )


@contextmanager
def _one_thread_seeded(seed: int) -> Iterator[None]:
    """One torch thread and this seed inside; threads and generator as before outside."""
    rng_state = torch.get_rng_state()
    with one_thread():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(rng_state)

"""Training is deterministic: one thread, one seed, one recipe.

    data = prepare(dataset, timepoints)               arrays for a model
    result = train(data, config, recipe)              always trains
    result = load_or_train(data, config, recipe)      trains once, see load_or_train.py

An interrupted `load_or_train` resumes after its last epoch, and ends with the same weights bit
for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from torch import Tensor, nn

from tsbench.data import preprocess
from tsbench.data.prepared import Prepared
from tsbench.model import Classifier, ModelConfig
from tsbench.threads import one_thread
from tsbench.training.evaluate import accuracy, batched_logits
from tsbench.training.recipes import Recipe
from tsbench.training.resume import ResumeFile, TrainingState

# Increase it when preprocessing, model or training change the result of a recipe: cached models
# of an older version are then not used.
TRAINING_VERSION = 4
# Distillation: half of the loss compares with the teacher's softened answer, as in Hinton et al.
# (arXiv:1503.02531), where a temperature of 2 suits small students.
TEACHER_SHARE = 0.5
TEACHER_TEMPERATURE = 2.0
# A model of tsbench, which answers each batch after augmentation; or another model's probabilities
# for each training case, (cases, classes) (see rocket.py).
Teacher = nn.Module | np.ndarray
MAX_GRADIENT_NORM = 1.0  # the usual clip for transformers; early steps after warm-up spike


@dataclass(frozen=True)
class EpochReport:
    """The outcome of one epoch."""

    epoch: int  # counts from 1
    loss: float  # mean over the epoch's cases
    validation_accuracy: float | None  # None without held-out cases


@dataclass(frozen=True)
class TrainResult:
    """A trained model, and the cost of training it (when it was trained, if it is cached).

    `validation_accuracy` belongs to these weights: with early stopping, to the best epoch. The
    joules are gross and of the whole machine; None where no meter counted them.
    """

    model: Classifier
    recipe: Recipe
    validation_accuracy: float | None
    cpu_seconds: float
    epochs: int  # fewer than the recipe's after early stopping
    joules: float | None = None
    provenance: str = ""
    cached: bool = False


def train(
    data: Prepared,
    config: ModelConfig,
    recipe: Recipe,
    on_epoch: Callable[[EpochReport], None] | None = None,
    teacher: Teacher | None = None,
    resume_file: ResumeFile | None = None,
) -> TrainResult:
    """A model trained from scratch by `recipe`. The same arguments give the same weights.

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
    """Trains `model` in place, starting from its current weights."""
    started = time.process_time()
    rng = np.random.default_rng(recipe.seed)
    kept, held_out = kept_and_held_out(data.train_y, recipe, rng)
    with _one_thread_seeded(recipe.seed):
        state = TrainingState(model, _optimizer(model, recipe), rng, torch.get_rng_state())
        if resume_file is not None:
            started -= resume_file.restore(state)
        labels = _mixed(data.train_y, teacher) if isinstance(teacher, np.ndarray) else data.train_y
        online_teacher = teacher if isinstance(teacher, nn.Module) else None
        while state.epoch < recipe.epochs and not _stale(state, recipe):
            loss = run_epoch(state, data.train_x[kept], labels[kept], recipe, online_teacher)
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
    """Indices of the training cases, and of the cases held out for validation.

    `rng` is a new generator with the recipe's seed.
    """
    if recipe.validation_share:
        return preprocess.stratified_split(
            labels, recipe.validation_share, rng, recipe.validation_block
        )
    return np.arange(len(labels)), np.array([], dtype=np.int64)


def _mixed(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Labels mixed with the teacher's answers: probabilities, float32 (cases, classes)."""
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
    """Advances `state` by one pass over the cases. Returns the mean loss.

    `y` holds labels, (cases,), or probabilities, (cases, classes).
    """
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

    It is multiplied by the squared temperature, which keeps the gradient's size
    (arXiv:1503.02531).
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


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    # Biases, norms and positions have no weight decay: pulling them to 0 regularises nothing.
    decayed = [p for p in model.parameters() if p.dim() == 2 or p.dim() == 3 and p.shape[0] > 1]
    chosen = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in chosen]
    # fused: one call for all ~110 small tensors, instead of several calls for each.
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
    """One torch thread and this seed inside the block; both are restored afterwards."""
    rng_state = torch.get_rng_state()
    with one_thread():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(rng_state)

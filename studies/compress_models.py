"""Six small models of different kinds, trained for seconds on generated waves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_CASES = 8
CALIBRATION_BATCHES = 16
TIMEPOINTS = 96
CLASSES = 3
STEPS = 150  # of training; each model is right for over nine in ten cases after that
AGAIN_STEPS = 60


@dataclass(frozen=True)
class Example:
    """A model with its inputs. `classifier`: the model and data set of a tsbench classifier."""

    model: Any
    batches: list[Tensor]
    retrain: Callable[[nn.Module], object] | None = None
    classifier: Any = None


def waves(cases: int, seed: int) -> tuple[Tensor, Tensor]:
    """x (cases, 1, timepoints), sines of three frequencies in noise, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, cases)
    time = np.linspace(0, 2 * np.pi, TIMEPOINTS)
    phase = rng.uniform(0, 2 * np.pi, cases)
    clean = np.sin((2 + 4 * y)[:, None] * time + phase[:, None])
    x = clean + rng.normal(0, 0.4, clean.shape)
    return torch.from_numpy(x[:, None].astype(np.float32)), torch.from_numpy(y)


def fit(model: nn.Module, steps: int, of_image: bool, read: Callable[[Any], Tensor]) -> nn.Module:
    """Trains the model in place. An exported graph has no modes that `train` could switch."""
    rng = np.random.default_rng(1)
    x, y = waves(512, seed=0)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 2e-3)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.choice(len(x), 32, replace=False))
        batch = as_image(x[chosen]) if of_image else x[chosen]
        loss = F.cross_entropy(read(model(batch)), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def as_image(x: Tensor) -> Tensor:
    """(cases, 1, timepoints) as (cases, 1, 8, timepoints / 8)."""
    return x.unflatten(2, (8, -1))


class Fcn(nn.Module):
    """Three convolutions with batch norm, mean over time, linear head (Wang et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, kernel in ((1, 32, 9), (32, 64, 5), (64, 32, 3)):
            layers += [
                nn.Conv1d(before, after, kernel, padding=kernel // 2),
                nn.BatchNorm1d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=2))


def cnn_2d() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, CLASSES),
    )


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(TIMEPOINTS, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )


class ForPatchTst(nn.Module):
    """PatchTST takes (cases, timepoints, channels) and returns a dataclass of Hugging Face."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import PatchTSTConfig, PatchTSTForClassification

        config = PatchTSTConfig(
            num_input_channels=1,
            context_length=TIMEPOINTS,
            num_targets=CLASSES,
            patch_length=8,
            patch_stride=8,
            d_model=32,
            num_attention_heads=4,
            ffn_dim=64,
            num_hidden_layers=2,
            use_cls_token=True,
        )
        self.patchtst = PatchTSTForClassification(config)

    def forward(self, x: Tensor) -> Any:
        return self.patchtst(past_values=x.transpose(1, 2))


def _module(make: Callable[[], nn.Module], of_image: bool = False, read: Any = None) -> Example:
    torch.manual_seed(0)
    read = read or (lambda output: output)
    model = fit(make().train(), STEPS, of_image, read).eval()
    x, _ = waves(BATCH_CASES * CALIBRATION_BATCHES, seed=2)
    batches = list((as_image(x) if of_image else x).split(BATCH_CASES))
    return Example(model, batches, lambda again: fit(again, AGAIN_STEPS, of_image, read))


def _classifier() -> Example:
    from tsbench.data.prepared import Prepared
    from tsbench.model import ModelConfig
    from tsbench.training.recipes import Recipe
    from tsbench.training.train import train

    (train_x, train_y), (test_x, test_y) = waves(256, seed=0), waves(128, seed=2)
    names = tuple(map(str, range(CLASSES)))
    data = Prepared(
        "CompressTable", "1", names, train_x.numpy(), train_y.numpy(), test_x, test_y, channels=1
    )
    config = ModelConfig(
        in_channels=1, timepoints=TIMEPOINTS, n_classes=CLASSES, n_layers=2, n_heads=4
    )
    model = train(data, config, Recipe(epochs=10)).model
    return Example(model, list(test_x.split(BATCH_CASES)), classifier=(model, data))


def _sklearn() -> Example:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    x, y = waves(512, seed=0)
    fitted = MLPClassifier((256, 128), max_iter=30, early_stopping=True, random_state=0)
    fitted.fit(x[:, 0].numpy(), y.numpy())
    path = Path(tempfile.mkdtemp(prefix="compress-table-")) / "mlp.onnx"
    made = to_onnx(fitted, x[:1, 0].numpy(), options={"zipmap": False})
    path.write_bytes(made.SerializeToString())
    test_x, _ = waves(BATCH_CASES * CALIBRATION_BATCHES, seed=2)
    return Example(path, list(test_x[:, 0].contiguous().split(BATCH_CASES)))


MODELS: dict[str, Callable[[], Example]] = {
    "our classifier": _classifier,
    "FCN": lambda: _module(Fcn),
    "2-D CNN": lambda: _module(cnn_2d, of_image=True),
    "PatchTST": lambda: _module(
        ForPatchTst, read=lambda out: out[0] if isinstance(out, tuple) else out.prediction_logits
    ),
    "MLP": lambda: _module(mlp),
    "scikit-learn": _sklearn,
}

"""A dataset as model input: two arrays per split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsbench.data import preprocess
from tsbench.data.datasets import Dataset, Split


@dataclass(frozen=True)
class Prepared:
    """x is float32 (cases, in_channels, timepoints); y is int64 (cases,)."""

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: Tensor
    test_y: Tensor


def prepare(dataset: Dataset, timepoints: int) -> Prepared:
    """Both splits as arrays of `timepoints`."""

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

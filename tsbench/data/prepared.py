"""A dataset as model input: two arrays per split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsbench.data import preprocess
from tsbench.data.datasets import Dataset, Split

# Levels that differ by less, in decades (0.2 %), hold no information. In the UCR archive's
# normalised sets they differ by 3e-8, which is rounding; in PLAID by 6.5.
MIN_LEVEL_RANGE = 1e-3


@dataclass(frozen=True)
class Prepared:
    """x is float32 (cases, in_channels, timepoints); y is int64 (cases,).

    The first `channels` of x are the signal, the others (if any) their level. `notes` are sentences
    on what was left out or changed.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: Tensor
    test_y: Tensor
    channels: int
    rate: float = 1.0  # by which every case was resampled
    notes: tuple[str, ...] = ()


def prepare(
    dataset: Dataset, timepoints: int, resampled: bool = False, with_level: bool | None = None
) -> Prepared:
    """Both splits as arrays of `timepoints`.

    Cases are repeated or cut to that length. With `resampled`, all are first resampled at the rate
    at which the longest training case fits. The level is part of the input if it differs between
    training cases, or by `with_level`.
    """
    longest = max(case.shape[1] for case in dataset.train.cases)
    rate = timepoints / longest if resampled else 1.0
    levels = np.stack([preprocess.log_std(case) for case in dataset.train.cases])
    differs = bool(np.ptp(levels, axis=0).max() > MIN_LEVEL_RANGE)
    fed = differs if with_level is None else with_level

    def arrays(split: Split) -> np.ndarray:
        return preprocess.to_array(split.cases, timepoints, fed, rate)

    return Prepared(
        dataset.name,
        dataset.fingerprint,
        dataset.classes,
        arrays(dataset.train),
        dataset.train.labels,
        torch.from_numpy(arrays(dataset.test)),
        torch.from_numpy(dataset.test.labels),
        dataset.channels,
        rate,
        tuple(_notes(dataset, timepoints, fed, rate)),
    )


def _notes(dataset: Dataset, timepoints: int, with_level: bool, rate: float) -> Iterator[str]:
    if rate != 1:
        yield f"resampled to {rate:.3g} times its timepoints, so that the longest has {timepoints}"
    lengths = [rate * case.shape[1] for case in (*dataset.train.cases, *dataset.test.cases)]
    if n_longer := sum(round(length) > timepoints for length in lengths):
        yield f"{n_longer} of {len(lengths)} cases are cut after {timepoints} timepoints"
    if not with_level:
        yield "all training cases have the same level, which is not part of the input"

"""Training cases that quantizers calibrate with, and an input to export or compile with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from tsbench.data.prepared import Prepared

CALIBRATION_CASES = 256
CALIBRATION_SEED = 0  # UCR files are sorted by class: the cases are shuffled


def calibration_x(data: Prepared) -> Tensor:
    """Training cases, (cases, in_channels, timepoints)."""
    import numpy as np
    import torch

    order = np.random.default_rng(CALIBRATION_SEED).permutation(len(data.train_x))
    return torch.from_numpy(data.train_x[order[:CALIBRATION_CASES]])


def calibration_batches(data: Prepared, batch_cases: int) -> Iterator[np.ndarray]:
    """The same cases in batches of exactly this size; the first cases fill the last batch up."""
    import numpy as np

    cases = calibration_x(data).numpy()
    for start in range(0, len(cases), batch_cases):
        yield np.ascontiguousarray(cases[np.arange(start, start + batch_cases) % len(cases)])


def example(data: Prepared, batch_cases: int) -> Tensor:
    """An input of the shape that the model is exported or compiled for."""
    import torch

    return torch.from_numpy(data.train_x[:1]).expand(batch_cases, -1, -1).contiguous()

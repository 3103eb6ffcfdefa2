"""From cases of any length to one array, in small pure steps.

Nothing here changes its arguments, and what is random takes its generator.
Shapes: a case is (channels, timepoints), a batch (cases, channels, timepoints).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Below this a case counts as constant: it has no shape to normalise, and dividing by its
# standard deviation would only amplify rounding. PLAID's quietest case has 3.1e-5.
MIN_STD = 1e-8


def z_norm(case: np.ndarray) -> np.ndarray:
    """The case with mean 0 and standard deviation 1 per channel (0 where constant).

    >>> z_norm(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """
    centred = case - case.mean(axis=1, keepdims=True)
    std = case.std(axis=1, keepdims=True)
    return np.where(std > MIN_STD, centred / np.maximum(std, MIN_STD), 0.0)


def log_std(case: np.ndarray) -> np.ndarray:
    """The decimal logarithm of each channel's standard deviation, (channels,).

    What z_norm throws away: how much current an appliance draws. In PLAID it spans 3e-5 to
    96 from case to case, hence the logarithm.
    """
    return np.log10(np.maximum(case.std(axis=1), MIN_STD))


def tile(case: np.ndarray, timepoints: int) -> np.ndarray:
    """The case repeated end to end, then cut, to exactly `timepoints`.

    For mains-frequency waveforms the continuation is what the appliance would have done;
    padding and masking cost 4 points of accuracy on PLAID in a trial (issue 2).

    >>> tile(np.array([[1, 2, 3]]), 7)
    array([[1, 2, 3, 1, 2, 3, 1]])
    """
    if timepoints < 1 or case.shape[1] < 1:
        raise ValueError(f"cannot tile {case.shape[1]} timepoints to {timepoints}")
    return case[:, np.arange(timepoints) % case.shape[1]]


def to_array(cases: Sequence[np.ndarray], timepoints: int) -> np.ndarray:
    """Model input: float32 (cases, 2 * channels, timepoints).

    The first half of the channels is the z-normed, tiled signal; the second half holds each
    channel's `log_std`, the same at every timepoint.
    """
    rows = []
    for case in cases:
        signal = tile(z_norm(case), timepoints)
        level = np.repeat(log_std(case)[:, None], timepoints, axis=1)
        rows.append(np.concatenate([signal, level]))
    return np.stack(rows).astype(np.float32)


def circular_shift(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each case rolled along time by its own random amount: training augmentation.

    When a recording starts relative to the mains phase, or at which hour of the day, does
    not change what the appliance is.
    """
    n_cases, _, timepoints = batch.shape
    shift = rng.integers(timepoints, size=(n_cases, 1))
    index = (np.arange(timepoints) + shift) % timepoints  # (cases, timepoints)
    return np.take_along_axis(batch, index[:, None, :], axis=2)


def splice(
    batch: np.ndarray, concentration: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Each case with a stretch of another in its place: training augmentation (CutMix).

    Returns the spliced batch, the index of each case's other, (cases,), and the share of
    timepoints that stayed its own, drawn from Beta(concentration, concentration). The stretch is
    the same for all cases, and may run over the end to the start. arXiv:1905.04899, in 1D.
    """
    n_cases, _, timepoints = batch.shape
    others = rng.permutation(n_cases)
    n_foreign = int(rng.beta(concentration, concentration) * timepoints)
    stretch = (rng.integers(timepoints) + np.arange(n_foreign)) % timepoints
    spliced = batch.copy()
    spliced[:, :, stretch] = batch[others][:, :, stretch]
    return spliced, others, 1 - n_foreign / timepoints


def stratified_split(
    labels: np.ndarray, fraction: float, rng: np.random.Generator, block_cases: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, held out), sorted: `fraction` of each class is held out.

    `block_cases` that follow each other in a class are held out, or stay, together: where a
    class's cases are ordered by where they were recorded, the held-out ones are then from
    elsewhere. At least one block of a class with two or more is held out, and one always stays.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    if block_cases < 1:
        raise ValueError(f"block_cases must be at least 1, got {block_cases}")
    held_out = [np.array([], dtype=np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        blocks = np.split(members, range(block_cases, len(members), block_cases))
        n_held_out = min(max(round(fraction * len(blocks)), 1), len(blocks) - 1)
        held_out += [blocks[i] for i in rng.permutation(len(blocks))[:n_held_out]]
    chosen = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def fill_gaps(case: np.ndarray) -> np.ndarray:
    """The case with each NaN interpolated linearly; at the ends, the nearest known value.

    >>> fill_gaps(np.array([[np.nan, 1.0, np.nan, 3.0]]))
    array([[1., 1., 2., 3.]])
    """
    known = ~np.isnan(case)
    if known.all():
        return case
    if not known.any(axis=1).all():
        raise ValueError("cannot fill a channel without any known value")
    times = np.arange(case.shape[1])
    return np.stack(
        [np.interp(times, times[k], row[k]) for row, k in zip(case, known, strict=True)]
    )


def resample(case: np.ndarray, timepoints: int) -> np.ndarray:
    """The case stretched or squeezed to `timepoints`, linearly between its own.

    >>> resample(np.array([[0.0, 2.0]]), 3)
    array([[0., 1., 2.]])
    """
    if timepoints < 1 or case.shape[1] < 1:
        raise ValueError(f"cannot resample {case.shape[1]} timepoints to {timepoints}")
    there = np.linspace(0, case.shape[1] - 1, timepoints)
    return np.stack([np.interp(there, np.arange(case.shape[1]), row) for row in case])


def segment(case: np.ndarray, timepoints: int, step: int) -> np.ndarray:
    """Windows of `timepoints`, a new one each `step`: (windows, channels, timepoints).

    What is left over at the end is not covered. Raises ValueError where not one window fits.

    >>> segment(np.array([[1, 2, 3, 4, 5]]), 3, 2).tolist()
    [[[1, 2, 3]], [[3, 4, 5]]]
    """
    if step < 1 or not 1 <= timepoints <= case.shape[1]:
        raise ValueError(
            f"cannot cut {case.shape[1]} timepoints into windows of {timepoints}, one each {step}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(case, timepoints, axis=1)[:, ::step]
    return windows.transpose(1, 0, 2).copy()

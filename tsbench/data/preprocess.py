"""Pure functions from cases of any length to one array.

None changes its arguments; random ones take a generator.
Shapes: a case is (channels, timepoints), a batch (cases, channels, timepoints).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A channel whose standard deviation is below this share of its largest value is constant but for
# rounding, which a division would amplify. Files hold up to 10 digits.
MIN_RELATIVE_STD = 1e-10
MIN_LEVEL = 1e-8  # the lowest level that log_std separates; PLAID's quietest case has 3.1e-5


def z_norm(case: np.ndarray) -> np.ndarray:
    """The case with mean 0 and standard deviation 1 per channel (0 where constant).

    >>> z_norm(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """
    centred = case - case.mean(axis=1, keepdims=True)
    std = case.std(axis=1, keepdims=True)
    varies = std > MIN_RELATIVE_STD * np.abs(case).max(axis=1, keepdims=True)
    return np.where(varies, centred / np.where(varies, std, 1.0), 0.0)


def log_std(case: np.ndarray) -> np.ndarray:
    """The decimal logarithm of each channel's standard deviation, (channels,).

    It is the level that z_norm removes: how much current an appliance draws. In PLAID it spans
    3e-5 to 96, hence the logarithm.
    """
    return np.log10(np.maximum(case.std(axis=1), MIN_LEVEL))


def tile(case: np.ndarray, timepoints: int) -> np.ndarray:
    """The case repeated, or cut, to exactly `timepoints`.

    A mains-frequency waveform continues like this. In a trial, padding and masking instead cost 4
    points of accuracy on PLAID.

    >>> tile(np.array([[1, 2, 3]]), 7)
    array([[1, 2, 3, 1, 2, 3, 1]])
    """
    if timepoints < 1 or case.shape[1] < 1:
        raise ValueError(f"cannot tile {case.shape[1]} timepoints to {timepoints}")
    return case[:, np.arange(timepoints) % case.shape[1]]


def to_array(
    cases: Sequence[np.ndarray], timepoints: int, with_level: bool = True, rate: float = 1.0
) -> np.ndarray:
    """Model input: float32 (cases, channels, timepoints), or 2 * channels `with_level`.

    The first `channels` are the z-normed signal, resampled to `rate` times its timepoints and
    tiled. The others are each channel's `log_std`, the same at every timepoint.
    """
    rows = []
    for case in cases:
        signal = z_norm(case)
        if rate != 1:
            signal = resample(signal, max(round(rate * case.shape[1]), 1))
        parts = [tile(signal, timepoints)]
        if with_level:
            parts.append(np.repeat(log_std(case)[:, None], timepoints, axis=1))
        rows.append(np.concatenate(parts))
    return np.stack(rows).astype(np.float32)


def circular_shift(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each case rolled along time by its own random amount, as training augmentation.

    The start of a recording, in mains phase or hour of the day, does not change the appliance.
    """
    n_cases, _, timepoints = batch.shape
    shift = rng.integers(timepoints, size=(n_cases, 1))
    index = (np.arange(timepoints) + shift) % timepoints  # (cases, timepoints)
    return np.take_along_axis(batch, index[:, None, :], axis=2)


def splice(
    batch: np.ndarray, concentration: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Each case with a stretch replaced by another case's: CutMix (arXiv:1905.04899) in 1D.

    Returns the spliced batch, the index of each case's other case, (cases,), and the share of
    timepoints that are its own, drawn from Beta(concentration, concentration). All cases share one
    stretch, which may wrap around the end.
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

    A class's cases are held out in blocks of `block_cases` that follow each other. If cases are
    ordered by recording site, the held-out ones are then from other sites. Of a class with two
    blocks or more, at least one is held out and one stays.
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
    """The case stretched or compressed to `timepoints` by linear interpolation.

    >>> resample(np.array([[0.0, 2.0]]), 3)
    array([[0., 1., 2.]])
    """
    if timepoints < 1 or case.shape[1] < 1:
        raise ValueError(f"cannot resample {case.shape[1]} timepoints to {timepoints}")
    there = np.linspace(0, case.shape[1] - 1, timepoints)
    return np.stack([np.interp(there, np.arange(case.shape[1]), row) for row in case])

"""A teacher that is no transformer: aeon's MultiRocket and Hydra, with ridge regression on both.

It is among the best published classifiers that train quickly. It is far too slow to replace a
compact model, but a transformer can learn from its predictions:

    tsbench train PLAID student --teacher multirocket_hydra

Each training case is predicted by a model that did not train on it. A model that did is certain of
every label, and so has no information on which classes are alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tsbench import requirements
from tsbench.data import preprocess
from tsbench.errors import TeacherUnavailable
from tsbench.threads import one_thread
from tsbench.training.train import kept_and_held_out

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.training.recipes import Recipe

NAME = "multirocket_hydra"
LIBRARIES = ("aeon", "sklearn")
FOLDS = 5
COPIES = 3  # of each training case: unchanged, and two circularly shifted
# Ridge's own choice among these, by leave-one-out, as in MultiRocket's paper (arXiv:2102.00457).
PENALTIES = np.logspace(-1, 4, 6)
TEMPERATURES = np.geomspace(0.02, 2.0, 41)  # a certain margin of ridge regression is about 1


def answers(data: Prepared, recipe: Recipe) -> np.ndarray:
    """Probabilities of each training case, float32 (cases, classes).

    A row is by a model that did not train on its case. Rows of cases that the recipe holds out are
    nan: the teacher does not use them either. Raises TeacherUnavailable without aeon.
    """
    require()
    kept, _ = kept_and_held_out(data.train_y, recipe, np.random.default_rng(recipe.seed))
    found = np.full((len(data.train_y), len(data.classes)), np.nan, dtype=np.float32)
    found[kept] = _cross_fitted(data, kept, recipe)
    return found


def _cross_fitted(data: Prepared, kept: np.ndarray, recipe: Recipe) -> np.ndarray:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.preprocessing import StandardScaler

    x, labels, n_classes = data.train_x[kept], data.train_y[kept], len(data.classes)
    rng = np.random.default_rng(recipe.seed)
    copies = [x, *(preprocess.circular_shift(x, rng) for _ in range(COPIES - 1))]
    # Uses no labels: the kernels' biases are quantiles of their outputs.
    features = _features(np.concatenate(copies), data.channels, recipe.seed)
    by_copy = np.split(StandardScaler().fit_transform(features), COPIES)
    margins = np.zeros((len(labels), n_classes))
    for rest, left_out in folds(labels, recipe.validation_block, rng):
        model = RidgeClassifierCV(PENALTIES).fit(
            np.concatenate([copy[rest] for copy in by_copy]), np.tile(labels[rest], COPIES)
        )
        margins[left_out] = np.mean(
            [_margins(model, copy[left_out], n_classes) for copy in by_copy], axis=0
        )
    return calibrated(margins, labels)


def folds(
    labels: np.ndarray, block_cases: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices (rest, held out) of each fold. Each case is held out once.

    Folds divide each class evenly, and keep blocks of a class whole.
    """
    fold = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        blocks = np.arange(len(members)) // block_cases
        fold[members] = rng.permutation(blocks.max() + 1)[blocks] % FOLDS
    for number in range(FOLDS):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def calibrated(margins: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Margins (cases, classes) as probabilities, with the temperature of the highest likelihood.

    See arXiv:1706.04599.
    """
    from scipy.special import log_softmax

    scaled = [log_softmax(margins / temperature, axis=1) for temperature in TEMPERATURES]
    likeliest = max(scaled, key=lambda logs: logs[np.arange(len(labels)), labels].mean())
    return np.exp(likeliest).astype(np.float32)


def require() -> None:
    """Raises TeacherUnavailable, with the line that installs it, if aeon is missing."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise TeacherUnavailable(
            NAME, f"{', '.join(missing)} not installed", requirements.remedy("aeon")
        )


def _features(x: np.ndarray, channels: int, seed: int) -> np.ndarray:
    """Both transforms of the signal, and each channel's log_std: (cases, features).

    x is (cases, in_channels, timepoints), of which the first `channels` are the signal.
    """
    signal, level = np.split(x, [channels], axis=1)
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # numba reads it at import
    with one_thread():
        from aeon.transformations.collection.convolution_based import HydraTransformer, MultiRocket

        rocket = MultiRocket(random_state=seed, n_jobs=1).fit_transform(signal.astype(np.float64))
        hydra: Any = HydraTransformer(random_state=seed, n_jobs=1).fit_transform(
            signal.astype(np.float64)
        )
    # Hydra counts winning kernels. Square roots are closer to normal, as in its own scaler.
    return np.hstack([rocket, np.sqrt(np.maximum(np.asarray(hydra), 0)), level[:, :, 0]])


def _margins(model: Any, features: np.ndarray, n_classes: int) -> np.ndarray:
    """Margins (cases, n_classes). Classes that the model did not see get the lowest margin."""
    decided = model.decision_function(features)
    if decided.ndim == 1:  # two classes have one margin
        decided = np.stack([-decided, decided], axis=1)
    margins = np.full((len(features), n_classes), decided.min())
    margins[:, model.classes_] = decided
    return margins

"""A trained model for data that is prepared: the one that is shipped, one from the cache, or one trained now."""

from __future__ import annotations

from tsbench import checkpoints
from tsbench.model import Classifier, config_for
from tsbench.training.recipes import recipe_for
from tsbench.training.train import Prepared, train_cached


def trained_model(data: Prepared, config: str) -> Classifier:
    """The shipped model where it was trained on this very data, else one by the dataset's recipe, trained once.

    Raises UnknownName for a config that there is not.
    """
    path = checkpoints.shipped(data.name, config)
    if path is not None:
        found = checkpoints.load(path)
        if found.about["data_sha256"] == data.fingerprint:
            return found.model
    _, in_channels, timepoints = data.train_x.shape
    shape = config_for(config, in_channels, timepoints, len(data.classes))
    return train_cached(data, shape, recipe_for(data.name, config)).model

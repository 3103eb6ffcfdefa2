"""What the benchmarks share: data, models and variants, each made once and outside windows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch

from tsbench import checkpoints, datasets, variants
from tsbench.errors import DatasetUnavailable, VariantUnavailable
from tsbench.evaluate import accuracy, agreement, batched_logits
from tsbench.model import Classifier, config_for
from tsbench.recipes import plan_for
from tsbench.train import Prepared, prepare, train_cached

if TYPE_CHECKING:
    from tsbench.variants import Classify


class Workshop:
    """Makes what a benchmark measures, and keeps it for the session.

    Its methods take only names and sizes, so that each result is made once.
    """

    def __init__(self) -> None:
        self.data = cache(self._data)
        self.model = cache(self._model)
        self.variant = cache(self._variant)
        self.quality = cache(self._quality)

    def _data(self, dataset: str) -> Prepared:
        loaded = datasets.load(dataset)
        return prepare(loaded, plan_for(loaded).timepoints)

    def _model(self, dataset: str, config: str) -> Classifier:
        """The shipped model where it was trained on this very data, else one trained now."""
        data = self.data(dataset)
        path = checkpoints.shipped(dataset, config)
        if path is not None:
            found = checkpoints.load(path)
            if found.about["data_sha256"] == data.fingerprint:
                return found.model
        loaded = datasets.load(dataset)
        plan = plan_for(loaded)
        shape = config_for(config, 2 * loaded.channels, plan.timepoints, len(loaded.classes))
        return train_cached(data, shape, plan.recipe).model

    def _variant(self, dataset: str, config: str, variant: str, batch_cases: int) -> Classify:
        return variants.get(variant).build(
            self.model(dataset, config), self.data(dataset), batch_cases
        )

    def another_fp32(self, dataset: str, config: str, batch_cases: int) -> Classify:
        """A second copy of the baseline, never the cached one."""
        return self._variant(dataset, config, "fp32", batch_cases)

    def _quality(
        self, dataset: str, config: str, variant: str, batch_cases: int
    ) -> tuple[float, float]:
        """Accuracy, and agreement with fp32's predictions, on the whole test split.

        Per batch size too: a variant calibrated and compiled for another batch size is
        another program, with scales of its own.
        """
        data = self.data(dataset)
        logits = batched_logits(
            self.variant(dataset, config, variant, batch_cases), data.test_x, batch_cases
        )
        baseline = batched_logits(self.model(dataset, config), data.test_x)
        return accuracy(logits, data.test_y), agreement(logits, baseline)

    def batch(self, dataset: str, batch_cases: int) -> torch.Tensor:
        """The first test cases: what is classified costs the same whatever it is."""
        return self.data(dataset).test_x[:batch_cases].contiguous()


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    """One workshop for the whole run."""
    return Workshop()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread: a second doubles the CPU time at batch 1 and gains nothing (issue 2)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """What is not on this machine skips its benchmark with the line that says how to get it."""
    try:
        return (yield)
    except (DatasetUnavailable, VariantUnavailable) as error:
        pytest.skip(str(error))

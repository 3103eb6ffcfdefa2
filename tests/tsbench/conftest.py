"""A small dataset, a small model, and a cache for each test."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch

from tsbench.data import cache, datasets, download
from tsbench.data.prepared import prepare
from tsbench.model import Classifier, ModelConfig

TINY = ModelConfig(
    in_channels=2,
    timepoints=64,
    n_classes=3,
    patch_timepoints=16,
    stem_channels=8,
    d_model=16,
    n_layers=2,
    n_heads=4,
    ff_dim=32,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keeps tests off the user's cache and the network."""
    monkeypatch.setenv(cache.CACHE_FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")


@pytest.fixture(scope="session")
def plaid():
    return datasets.load("PLAID")


@pytest.fixture
def tiny_model():
    """An untrained model in eval mode; its batch norms have seen data."""
    torch.manual_seed(0)
    model = Classifier(TINY)
    model(torch.randn(32, 2, 64))
    return model.eval()


@pytest.fixture(scope="session")
def tiny_data():
    """Sine waves of three frequencies, which are quick to learn."""
    rng = np.random.default_rng(0)

    def split(n_cases):
        labels = np.arange(n_cases) % 3
        times = np.arange(64) / 64
        waves = [
            np.sin(2 * np.pi * (3 * label + 2) * times + rng.uniform(0, 6)) for label in labels
        ]
        noisy = np.array(waves)[:, None] + rng.normal(0, 0.1, (n_cases, 1, 64))
        return datasets.Split(tuple(noisy), labels)

    made = datasets.Dataset("Waves", ("a", "b", "c"), split(48), split(30), source=None)
    return prepare(made, 64)


@pytest.fixture(scope="session")
def refrigeration_devices():
    """Skips where it is not installed: a test cannot download it."""
    if not os.environ.get(datasets.DATA_FOLDER_VARIABLE):
        pytest.skip("set TSBENCH_DATA to a UCR folder that holds RefrigerationDevices")
    return datasets.load("RefrigerationDevices")


class KeptModules:
    """Keeps what an inner pytest imported: pytester unloads it, and torch can be loaded once."""

    def __init__(self):
        self.modules = {}

    def pytest_unconfigure(self):
        self.modules = {
            name: module
            for name, module in sys.modules.items()
            if not name.startswith(("test_", "conftest"))
        }


@pytest.fixture
def inner_pytest(pytester):
    """Runs pytest in this process, with tsbench's plugin."""

    def run(*arguments):
        kept = KeptModules()
        own = ("-p", "tsbench.plugin", "-p", "no:cacheprovider")
        result = pytester.runpytest_inprocess(*own, *arguments, plugins=[kept])
        for name, module in kept.modules.items():
            sys.modules.setdefault(name, module)
        return result

    return run

"""Options of the suite, and its data, models and variants, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks import thresholds
from tsbench import threads, variants
from tsbench.data import datasets
from tsbench.data.prepared import Prepared
from tsbench.errors import DatasetUnavailable, VariantUnavailable
from tsbench.model import CONFIGS, Classifier
from tsbench.training.evaluate import accuracy, agreement, batched_logits
from tsbench.training.load_or_train import trained_model
from tsbench.training.recipes import prepare_by_plan

if TYPE_CHECKING:
    from tsbench.variants import Classify


# Calls of a variant for its accuracy: ElectricDevices' 7711 test cases one by one take fp32 40 s.
MOST_CALLS = 1000
NOTES = pytest.StashKey[list]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds options to run the suite on other data."""
    group = parser.getgroup("tsbench", "the compression suite's data and models")
    group.addoption(
        "--tsbench-full",
        action="store_true",
        help="run every installed variant, not only the core set",
    )
    group.addoption(
        "--tsbench-dataset",
        metavar="NAME",
        help="run only this dataset: one of the UCR archive, or synthetic",
    )
    group.addoption(
        "--tsbench-config",
        metavar="CONFIG",
        help=f"run only models of this config: {', '.join(CONFIGS)}",
    )
    group.addoption(
        "--tsbench-data",
        metavar="FOLDER",
        type=Path,
        help="the datasets' folder (default: TSBENCH_DATA)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Rejects bad options before anything is trained."""
    name = config.getoption("--tsbench-config")
    if name is not None and name.lower() not in CONFIGS:
        raise pytest.UsageError(f"--tsbench-config {name}: must be one of {', '.join(CONFIGS)}")
    folder = config.getoption("--tsbench-data")
    if folder is not None and not folder.is_dir():
        raise pytest.UsageError(f"--tsbench-data {folder}: the folder does not exist")
    config.pluginmanager.register(Progress(config), "tsbench-progress")


def pytest_report_header() -> str:
    """Which machine's thresholds apply."""
    machine = thresholds.read().machines.get(thresholds.cpu_kind())
    if machine is None:
        return "tsbench: no ratios were set for this kind of CPU: they are shown, not gated"
    return f"tsbench: ratios as set on {machine}"


class Progress:
    """A line after each benchmark: its number, its time, and about how long the rest takes."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.total = self.done = 0
        self.began_s = self.last_s = 0.0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.total = len(session.items)
        self.began_s = self.last_s = perf_counter()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        now_s = perf_counter()
        self.done += 1
        left_s = (now_s - self.began_s) / self.done * (self.total - self.done)
        name = nodeid.partition("[")[2].rstrip("]") or nodeid
        took_s = now_s - self.last_s
        line = f" [{self.done}/{self.total}] {name}: {took_s:.0f} s, about {minutes(left_s)} left"
        self.last_s = now_s
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(line)


def minutes(seconds: float) -> str:
    """Seconds as text.

    >>> minutes(59.4), minutes(61)
    ('59 s', '1 min 1 s')
    """
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def evenly_spaced(cases: int, most: int) -> torch.Tensor:
    """The indices of at most so many cases.

    >>> evenly_spaced(7, 3).tolist(), evenly_spaced(3, 7).tolist()
    ([0, 2, 4], [0, 1, 2])
    """
    kept = min(cases, most)
    return torch.arange(kept) * cases // kept


class Workshop:
    """Makes and caches what benchmarks measure.

    Its methods take only names and sizes, so that each result is made once per session.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.notes: list[str] = []  # what reading changed in the data
        self.loaded = cache(self._loaded)
        self.data = cache(self._data)
        self.model = cache(self._model)
        self.variant = cache(self._variant)
        self.baseline_logits = cache(self._baseline_logits)
        self.quality = cache(self._quality)

    def _loaded(self, dataset: str) -> datasets.Dataset:
        loaded = datasets.load(dataset, self.folder)
        self.notes += [f"{loaded.name}: {note}" for note in loaded.notes]
        return loaded

    def _data(self, dataset: str) -> Prepared:
        loaded = self.loaded(dataset)
        data = prepare_by_plan(loaded)
        self.notes += [f"{data.name}: {note}" for note in data.notes]
        return data

    def _model(self, dataset: str, config: str) -> Classifier:
        """A trained model: shipped, cached or trained now."""
        return trained_model(self.data(dataset), config)

    def _variant(self, dataset: str, config: str, variant: str, batch_cases: int) -> Classify:
        return variants.get(variant).build(
            self.model(dataset, config), self.data(dataset), batch_cases
        )

    def another_fp32(self, dataset: str, config: str, batch_cases: int) -> Classify:
        """A new copy of the baseline."""
        return self._variant(dataset, config, "fp32", batch_cases)

    def _baseline_logits(self, dataset: str, config: str) -> torch.Tensor:
        """Of fp32, for the whole test split."""
        return batched_logits(self.model(dataset, config), self.data(dataset).test_x)

    def _quality(
        self, dataset: str, config: str, variant: str, batch_cases: int
    ) -> tuple[float, float]:
        """Accuracy, and agreement with fp32's predictions, on the test split; see `MOST_CALLS`.

        It depends on the batch size: a variant compiled and calibrated for another one is another
        program, with its own scales.
        """
        data = self.data(dataset)
        chosen = evenly_spaced(len(data.test_x), MOST_CALLS * batch_cases)
        if len(chosen) < len(data.test_x):
            note = f"{dataset}: accuracy at batch {batch_cases} is of {len(chosen)} of its "
            self.notes.append(f"{note}{len(data.test_x)} test cases, evenly spaced")
        logits = batched_logits(
            self.variant(dataset, config, variant, batch_cases), data.test_x[chosen], batch_cases
        )
        baseline = self.baseline_logits(dataset, config)[chosen]
        return accuracy(logits, data.test_y[chosen]), agreement(logits, baseline)

    def batch(self, dataset: str, batch_cases: int) -> torch.Tensor:
        """The first test cases, repeated if there are fewer: engines take whole batches only."""
        x = self.data(dataset).test_x
        return x[torch.arange(batch_cases) % len(x)]


@pytest.fixture(scope="session")
def workshop(pytestconfig: pytest.Config) -> Workshop:
    """The Workshop of this session."""
    made = Workshop(pytestconfig.getoption("--tsbench-data"))
    pytestconfig.stash[NOTES] = made.notes
    return made


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Prints the datasets' notes."""
    notes: list[str] = config.stash.get(NOTES, [])
    for note in dict.fromkeys(notes):
        terminalreporter.write_line(f"tsbench: {note}")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread for the whole suite, as in `tsbench measure`."""
    with threads.one_thread():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skips a benchmark whose dataset or variant is unavailable, with the remedy."""
    try:
        return (yield)
    except (DatasetUnavailable, VariantUnavailable) as error:
        pytest.skip(str(error))

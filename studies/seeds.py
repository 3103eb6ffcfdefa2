"""The same model trained from several seeds: accuracy, its spread over seeds, and the cost::

python -m studies.seeds PLAID t1 t2 student
python -m studies.seeds PLAID t1 --variant int8_dynamic int8_static
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from tsbench import variants
from tsbench.data import datasets
from tsbench.errors import TsbenchError
from tsbench.model import parameter_count
from tsbench.training.evaluate import accuracy, batched_logits
from tsbench.training.load_or_train import cached_path, config_of, train_by_plan
from tsbench.training.recipes import prepare_by_plan
from tsbench.training.train import TrainResult

CONFIDENCE = 0.95
BATCH_CASES = 32


@dataclass(frozen=True)
class Seeds:
    """One config on one dataset: a test accuracy and a training for each seed."""

    config: str
    accuracies: tuple[float, ...]
    results: tuple[TrainResult, ...]
    checkpoint_bytes: int

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Standard deviation over seeds; 0 with one seed, where it has no meaning."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    def row(self) -> tuple[str, ...]:
        """Config, accuracy, spread, parameters, KiB, CPU-seconds and joules of one training."""
        joules = [result.joules for result in self.results if result.joules is not None]
        provenance = {result.provenance for result in self.results if result.joules is not None}
        counted = (
            f"{statistics.fmean(joules):.0f} {provenance.pop()}"
            if len(provenance) == 1
            else "not counted"
        )
        return (
            self.config,
            f"{self.mean:.4f}",
            f"{self.std:.4f} ({', '.join(f'{a:.4f}' for a in self.accuracies)})",
            str(parameter_count(self.results[0].model)),
            f"{self.checkpoint_bytes / 1024:.0f}",
            f"{statistics.fmean(result.cpu_seconds for result in self.results):.0f}",
            counted,
        )


HEADINGS = ("config", "accuracy", "std (each seed)", "parameters", "KiB", "CPU-s", "J")


def run(dataset_name: str, config_name: str, n_seeds: int, folder: Path | None = None) -> Seeds:
    """Models of seeds 0, 1, ..., trained now or loaded from the cache."""
    dataset = datasets.load(dataset_name, folder)
    data = prepare_by_plan(dataset)
    config = config_of(data, config_name)
    accuracies, results = [], []
    for seed in range(n_seeds):
        result = train_by_plan(data, config_name, seed)
        accuracies.append(accuracy(batched_logits(result.model, data.test_x), data.test_y))
        results.append(result)
    size = cached_path(data, config, result.recipe).stat().st_size
    return Seeds(config_name, tuple(accuracies), tuple(results), size)


VARIANT_HEADINGS = ("variant", "accuracy", "std (each seed)", "less its own model's (each seed)")


def variant_rows(
    made: Seeds, dataset_name: str, names: Sequence[str], folder: Path | None = None
) -> Iterator[tuple[str, ...]]:
    """Each variant of these models: accuracy on the test split, and its change."""
    dataset = datasets.load(dataset_name, folder)
    data = prepare_by_plan(dataset)
    for name in names:
        reached = []
        for result in made.results:
            classify = variants.get(name).build(result.model, data, BATCH_CASES)
            reached.append(
                accuracy(batched_logits(classify, data.test_x, BATCH_CASES), data.test_y)
            )
        changes = [after - before for after, before in zip(reached, made.accuracies, strict=True)]
        std = statistics.stdev(reached) if len(reached) > 1 else 0.0
        yield (
            name,
            f"{statistics.fmean(reached):.4f}",
            f"{std:.4f} ({', '.join(f'{value:.4f}' for value in reached)})",
            f"{statistics.fmean(changes):+.4f} ({', '.join(f'{value:+.4f}' for value in changes)})",
        )


def difference(first: Seeds, second: Seeds) -> tuple[float, float, float]:
    """Mean of `second` minus mean of `first`, with its Welch interval: (value, low, high).

    Both use the same test split: the interval covers seeds, not other cases.
    Raises ValueError with fewer than two seeds.
    """
    from scipy.stats import t

    n = len(first.accuracies), len(second.accuracies)
    if min(n) < 2:
        raise ValueError(f"an interval over seeds needs two of each, got {n}")
    shares = first.std**2 / n[0], second.std**2 / n[1]
    value = second.mean - first.mean
    if sum(shares) == 0:
        return value, value, value
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / (n[0] - 1) + shares[1] ** 2 / (n[1] - 1))
    margin = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * sqrt(sum(shares))
    return value, value - margin, value + margin


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is not cached, and prints the tables as Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.seeds", description="Accuracy, spread and cost over several seeds."
    )
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("configs", metavar="CONFIG", nargs="+")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="how many (default 3)")
    parser.add_argument(
        "--variant", metavar="NAME", nargs="+", default=[], help="variants of each model, too"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the datasets' folder")
    options = parser.parse_args(arguments)
    try:
        for name in options.variant:  # before minutes of training
            variants.get(name).check()
        made = [
            run(options.dataset, config, options.seeds, options.data) for config in options.configs
        ]
    except TsbenchError as error:
        parser.error(str(error))
    print_table(HEADINGS, (each.row() for each in made))
    for other in made[1:] if options.seeds > 1 else ():
        value, low, high = difference(made[0], other)
        print(
            f"{other.config} less {made[0].config}: {value:+.4f} "
            f"[{low:+.4f}, {high:+.4f}], {CONFIDENCE:.0%} over seeds"
        )
    for each in made if options.variant else ():
        print(f"\nVariants of {each.config}:\n")
        rows = variant_rows(each, options.dataset, options.variant, options.data)
        print_table(VARIANT_HEADINGS, rows)
    return 0


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for cells in (headings, ("---",) * len(headings), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())

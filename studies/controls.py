"""What retraining alone gains: each retrained variant beside T1 trained again with nothing removed.

    python -m studies.controls PLAID t1 [--seeds 3]

A pruned model is trained again by the whole recipe, so it has had twice T1's training. Its control
is T1 itself, trained again in the same way from the same weights. What the pruning costs or gains
is the difference from the control. int8_qat trains for a few epochs only, and so does its
control.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studies.seeds import print_table
from tsbench import variants
from tsbench.data import datasets
from tsbench.errors import TsbenchError
from tsbench.training.evaluate import accuracy, batched_logits
from tsbench.training.load_or_train import train_by_plan
from tsbench.training.recipes import plan_of, prepare_by_plan

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

BATCH_CASES = 32
AGAIN, TUNED = "trained again, nothing removed", "fine-tuned, not quantized"
CONTROL_OF = {"l1_structured": AGAIN, "depth": AGAIN, "int8_qat": TUNED}
HEADINGS = ("model", "accuracy (each seed)", "less the first training", "less its control")


@dataclass(frozen=True)
class Row:
    """One model's accuracy for each seed."""

    name: str
    accuracies: tuple[float, ...]

    def cells(self, first: Row, control: Row | None) -> tuple[str, ...]:
        each = ", ".join(f"{value:.4f}" for value in self.accuracies)
        return (
            self.name,
            f"{statistics.fmean(self.accuracies):.4f} ({each})",
            self._less(first),
            "" if control is None else self._less(control),
        )

    def _less(self, other: Row) -> str:
        changes = [a - b for a, b in zip(self.accuracies, other.accuracies, strict=True)]
        return f"{statistics.fmean(changes):+.4f} ({', '.join(f'{c:+.4f}' for c in changes)})"


def trained_again(model: Classifier, data: Prepared) -> Classify:
    """The model, trained from its weights by the whole recipe, as pruned models are."""
    from tsbench.variants.tuning import RETRAINED_AS, trained

    return trained(deepcopy(model), data, "again", plan_of(data.name).recipe_for(RETRAINED_AS))


def fine_tuned(model: Classifier, data: Prepared) -> Classify:
    """The model, trained for as long as int8_qat trains, in fp32."""
    from tsbench.training.train import fit
    from tsbench.variants import int8_qat

    tuned = deepcopy(model)
    fit(tuned, data, int8_qat.recipe())
    return tuned


def measure(data: Prepared, config: str, n_seeds: int, names: Sequence[str]) -> dict[str, Row]:
    """A row for the model, its controls and each of the variants."""
    made: dict[str, Callable[[Classifier], Classify]] = {config: lambda model: model}
    for name in names:
        control = CONTROL_OF[name]
        make = trained_again if control == AGAIN else fine_tuned
        made[control] = lambda model, make=make: make(model, data)  # type: ignore[misc]
        variant = variants.get(name)
        made[name] = lambda model, variant=variant: variant.build(  # type: ignore[misc]
            model, data, BATCH_CASES
        )
    reached: dict[str, list[float]] = {name: [] for name in made}
    for seed in range(n_seeds):
        model = train_by_plan(data, config, seed).model
        for name, make_one in made.items():
            logits = batched_logits(make_one(model), data.test_x, BATCH_CASES)
            reached[name].append(accuracy(logits, data.test_y))
    return {name: Row(name, tuple(values)) for name, values in reached.items()}


def table(rows: Mapping[str, Row], config: str) -> Iterator[tuple[str, ...]]:
    for name, row in rows.items():
        control = rows[CONTROL_OF[name]] if name in CONTROL_OF else None
        yield row.cells(rows[config], control)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is not cached, and prints the table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m studies.controls", description=__doc__)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="how many (default 3)")
    parser.add_argument(
        "--variant", nargs="+", default=list(CONTROL_OF), choices=list(CONTROL_OF), metavar="NAME"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the datasets' folder")
    options = parser.parse_args(arguments)
    try:
        for name in options.variant:  # before minutes of training
            variants.get(name).check()
        data = prepare_by_plan(datasets.load(options.dataset, options.data))
        rows = measure(data, options.config, options.seeds, options.variant)
    except TsbenchError as error:
        parser.error(str(error))
    print_table(HEADINGS, table(rows, options.config))
    return 0


if __name__ == "__main__":
    sys.exit(main())

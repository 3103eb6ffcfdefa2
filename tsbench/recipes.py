"""The recipe by which each dataset's models are trained.

Chosen on cases held out of the training split (`tsbench train NAME CONFIG --validate`), never
on the test split; the shipped models were then trained on all training cases.
"""

from __future__ import annotations

from dataclasses import dataclass

from tsbench.datasets import Dataset
from tsbench.train import Recipe

# Timepoints of a dataset without an entry of its own are those of its longest training case,
# rounded up to whole patches of this many, at most MAX_TIMEPOINTS.
PATCH_TIMEPOINTS = 16
MAX_TIMEPOINTS = 1024  # attention costs grow with the square; longer cases are cut


@dataclass(frozen=True)
class Plan:
    """How long a dataset's cases are made, and how its models are trained."""

    timepoints: int
    recipe: Recipe


PLANS = {
    # 9 in 10 cases have at most 500 timepoints. Mean validation accuracy of the last 5 of 60
    # epochs: .841 with this rate, .834 with 2e-3 (161 cases held out: within noise).
    "PLAID": Plan(512, Recipe(epochs=60, learning_rate=4e-3)),
    # .661 after 30 epochs; .639 with dropout 0.2 and half the rate (114 cases held out).
    "RefrigerationDevices": Plan(720, Recipe(epochs=30)),
}


def plan_for(dataset: Dataset) -> Plan:
    """The dataset's own plan, or the default one for its length."""
    if dataset.name in PLANS:
        return PLANS[dataset.name]
    longest = max(case.shape[1] for case in dataset.train.cases)
    patches = -(-min(longest, MAX_TIMEPOINTS) // PATCH_TIMEPOINTS)
    return Plan(patches * PATCH_TIMEPOINTS, Recipe())

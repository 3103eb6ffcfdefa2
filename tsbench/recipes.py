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
    recipe: Recipe  # T1 and T2
    student: Recipe  # an epoch costs it less than half of a T1's, so it can afford more of them


# Figures are accuracies on the 30 % held out, mean of the last 5 epochs; students' the mean of
# three seeds, T1's of one, since it costs so much more.
PLANS = {
    # 9 in 10 cases have at most 500 timepoints. T1: .841 with this rate, .834 with 2e-3.
    # Student: .882; .863 with 60 epochs.
    "PLAID": Plan(512, Recipe(epochs=60, learning_rate=4e-3), Recipe(epochs=150, learning_rate=4e-3)),
    # T1: .661; .639 with dropout 0.2 and half the rate. Student: .820; .775 with 30 epochs at 2e-3. Far above what any published model reaches on
    # the test split; probably cases of one household are in both parts of the training split.
    "RefrigerationDevices": Plan(720, Recipe(epochs=30), Recipe(epochs=60, learning_rate=1e-3)),
}
DEFAULT_RECIPE, DEFAULT_STUDENT = Recipe(), Recipe(epochs=150)


def plan_for(dataset: Dataset) -> Plan:
    """The dataset's own plan, or the default one for its length."""
    if dataset.name in PLANS:
        return PLANS[dataset.name]
    longest = max(case.shape[1] for case in dataset.train.cases)
    patches = -(-min(longest, MAX_TIMEPOINTS) // PATCH_TIMEPOINTS)
    return Plan(patches * PATCH_TIMEPOINTS, DEFAULT_RECIPE, DEFAULT_STUDENT)


def recipe_for(dataset: Dataset, config: str) -> Recipe:
    """How models of this config are trained on the dataset."""
    plan = plan_for(dataset)
    return plan.student if config.lower() == "student" else plan.recipe

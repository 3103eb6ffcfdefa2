"""How the models of each dataset are trained.

Recipes were chosen on cases held out of the training split (`tsbench train NAME CONFIG
--validate`), never on the test split. docs/models.md has the trials and their accuracies. The
shipped models were then trained on all training cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tsbench.data.datasets import Dataset
from tsbench.data.prepared import Prepared, prepare

# A dataset without a plan has as many timepoints as its longest training case, rounded up to
# whole patches. Longer cases than MAX_TIMEPOINTS are resampled to that: attention's cost grows with
# the square.
PATCH_TIMEPOINTS = 16
MAX_TIMEPOINTS = 1024
COMPACT_CONFIGS = ("student", "statistics", "t1_half")


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults serve datasets without a plan of their own."""

    epochs: int = 60
    batch_cases: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.1  # of all steps: a linear rise, then half a cosine down to 0
    label_smoothing: float = 0.1
    shift: bool = True  # augment with preprocess.circular_shift
    splice: float = 0.0  # augment with preprocess.splice of this concentration; 0 for none
    validation_share: float = 0.0  # of the training split, held out to choose a recipe
    validation_block: int = 1  # cases held out together, see preprocess.stratified_split
    patience: int = 0  # epochs without improvement before early stopping; 0 for never
    teacher_sha256: str = ""  # see load_or_train.teacher_sha256; empty without a teacher
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patience and not self.validation_share:
            raise ValueError("early stopping (patience) needs held-out cases (validation_share)")


DEFAULT_RECIPE = Recipe()
DEFAULT_COMPACT = Recipe(epochs=150)  # their epochs are cheaper, so they get more


@dataclass(frozen=True)
class Plan:
    """The length of a dataset's cases, and the recipes of its models."""

    timepoints: int
    recipe: Recipe = field(default_factory=lambda: DEFAULT_RECIPE)  # of configs without their own
    own: Mapping[str, Recipe] = field(default_factory=dict)  # by config
    compact: str = "student"  # the config that the variant `student` uses
    teachers: Mapping[str, str] = field(default_factory=dict)  # by config: its teacher's config
    resampled: bool = False  # see prepare
    with_level: bool | None = None  # see prepare

    def recipe_for(self, config: str) -> Recipe:
        """The recipe of this config."""
        compact = DEFAULT_COMPACT if config.lower() in COMPACT_CONFIGS else self.recipe
        return self.own.get(config.lower(), compact)

    def teacher_for(self, config: str) -> str:
        """The config of its teacher, or an empty string."""
        return self.teachers.get(config.lower(), "")


# Comments give accuracies on held-out cases. Differences of two points are chance.
PLANS = {
    "PLAID": Plan(
        512,  # 9 of 10 cases have at most 500
        Recipe(epochs=60, learning_rate=4e-3),  # .841; with 2e-3 .834 (one seed)
        # .888, mean of three splits
        {"student": Recipe(epochs=200, learning_rate=4e-3, splice=0.2)},
    ),
    # Training cases of a class come in runs of five, as if of one household, and the test split has
    # other households: cases held out one by one flatter every model. Hence validation_block.
    "RefrigerationDevices": Plan(
        720,
        Recipe(epochs=12, splice=1.0, validation_block=5),  # .56; without splice .51
        {
            "student": Recipe(epochs=12, learning_rate=1e-3, splice=1.0, validation_block=5),  # .49
            # .61; in a trial, 25 epochs .55 and 12 .59
            "statistics": Recipe(epochs=12, validation_block=5),
            "t1_half": Recipe(epochs=24, splice=1.0, validation_block=5),
        },
        compact="statistics",
        teachers={"t1_half": "t1"},
        # Its level is constant. The shipped models were trained with it, and are not without it.
        with_level=True,
    ),
    "ElectricDevices": Plan(
        96,
        Recipe(epochs=12, splice=1.0, validation_block=100),  # .80, two splits
        {"student": Recipe(epochs=24, splice=1.0, validation_block=100)},  # chosen by its cost
    ),
}


def plan_for(dataset: Dataset) -> Plan:
    """The dataset's own plan, or the default plan for its length."""
    if dataset.name in PLANS:
        return PLANS[dataset.name]
    longest = max(case.shape[1] for case in dataset.train.cases)
    patches = -(-min(longest, MAX_TIMEPOINTS) // PATCH_TIMEPOINTS)
    return Plan(patches * PATCH_TIMEPOINTS, resampled=longest > MAX_TIMEPOINTS)


def plan_of(name: str) -> Plan:
    """The plan of the dataset of this name, whose timepoints only `plan_for` knows."""
    return PLANS.get(name) or Plan(MAX_TIMEPOINTS)


def prepare_by_plan(dataset: Dataset) -> Prepared:
    """The dataset as model input, in the length that its plan says."""
    plan = plan_for(dataset)
    return prepare(dataset, plan.timepoints, plan.resampled, plan.with_level)

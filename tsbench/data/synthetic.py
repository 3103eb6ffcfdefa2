"""`synthetic`: generated appliance loads, for tests and for machines without other data.

Each class is one kind of appliance: its cycle length, its duty cycle, the height and decay of its
inrush, and a ripple while it runs. Each case draws its own values around its class's, a random
phase, and noise, so that classes overlap a little. A note marks the data as generated.

`synthetic` has 3 classes, 256 timepoints and 60 cases per split. Each can be set:
`synthetic:classes=4,timepoints=720,cases=375,seed=1`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tsbench.errors import TsbenchError

NAME = "synthetic"
TRAIN, TEST = 0, 1  # enters the seed, so that the splits differ

CYCLES_PER_CASE = (2.0, 12.0)  # slowest and fastest class
DUTY_CYCLE = (0.25, 0.7)  # share of a cycle that the load is on
INRUSH = (0.5, 3.0)  # height above the running load
INRUSH_DECAY_SHARE = 0.08  # of the on-time, down to 1/e
RIPPLE = 0.15  # of the running load
SPREAD = 0.12  # relative, of a case's values around its class's
NOISE = 0.1  # standard deviation, of the running load


@dataclass(frozen=True)
class Spec:
    """The size of a generated dataset."""

    n_classes: int = 3
    timepoints: int = 256
    cases: int = 60
    seed: int = 0

    @property
    def name(self) -> str:
        return (
            f"{NAME}:classes={self.n_classes},timepoints={self.timepoints},"
            f"cases={self.cases},seed={self.seed}"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"generated-{i + 1}" for i in range(self.n_classes))


def is_name(name: str) -> bool:
    """Whether this is the name of generated data."""
    return name.lower().split(":")[0] == NAME


def parse_name(name: str) -> Spec:
    """The size that the name gives. Raises TsbenchError if the name is invalid.

    >>> parse_name("synthetic:cases=10").cases
    10
    """
    known = {field.name.removeprefix("n_"): field.name for field in fields(Spec)}
    values = {}
    for setting in filter(None, name.partition(":")[2].split(",")):
        key, _, text = setting.partition("=")
        if key not in known or not (text.isascii() and text.isdigit()):
            raise TsbenchError(
                f"{name}: {setting!r} must be one of {', '.join(sorted(known))}, '=' and a whole "
                f"number"
            )
        values[known[key]] = int(text)
    spec = Spec(**values)
    if spec.n_classes < 2 or spec.timepoints < 2 or spec.cases < 2 * spec.n_classes:
        raise TsbenchError(
            f"{name}: at least 2 classes, 2 timepoints and 2 cases per class are required"
        )
    return spec


def generate(spec: Spec, half: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Cases, each (1, timepoints), and labels (cases,) of one split. Deterministic."""
    rng = np.random.default_rng([spec.seed, half])
    labels = np.arange(spec.cases) % spec.n_classes
    return tuple(
        _case(label / (spec.n_classes - 1), spec.timepoints, rng)[None] for label in labels
    ), labels


def _case(position: float, timepoints: int, rng: np.random.Generator) -> np.ndarray:
    """A case of the class at `position`, from 0 to 1 between the extremes of each property."""

    def draw(extremes: tuple[float, float]) -> float:
        low, high = extremes
        return (low + position * (high - low)) * (1 + SPREAD * rng.standard_normal())

    cycles, duty = draw(CYCLES_PER_CASE), float(np.clip(draw(DUTY_CYCLE), 0.05, 0.95))
    inrush = draw(INRUSH)
    phase = (np.arange(timepoints) / timepoints * cycles + rng.uniform()) % 1
    since_on = phase / duty  # 0 when it switches on, 1 when it switches off
    running = 1 + inrush * np.exp(-since_on / INRUSH_DECAY_SHARE) + RIPPLE * np.sin(40 * since_on)
    return np.where(phase < duty, running, 0.0) + NOISE * rng.standard_normal(timepoints)

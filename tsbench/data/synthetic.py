"""`synthetic`: generated loads of appliances, for tests and for a machine with nothing else.

Each class is one kind of appliance: how long its cycle is, how much of it the load is on, how
high its inrush and how fast that dies away, and a ripple while it runs. Each case draws its
own values around its class's, a random phase, and noise; so that classes overlap a little.
Nobody measured any of this, and the name says so wherever it is shown.

`synthetic` alone is 3 classes, 256 timepoints and 60 cases a split; any of them can be set:
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
INRUSH = (0.5, 3.0)  # height over the running load
INRUSH_DECAY_SHARE = 0.08  # of the on-time, to 1/e
RIPPLE = 0.15  # of the running load
SPREAD = 0.12  # relative, of a case's values around its class's
NOISE = 0.1  # standard deviation, of the running load


@dataclass(frozen=True)
class Spec:
    """How large a set to generate."""

    n_classes: int = 3
    timepoints: int = 256
    cases: int = 60
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{NAME}:classes={self.n_classes},timepoints={self.timepoints},cases={self.cases},seed={self.seed}"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"generated-{i + 1}" for i in range(self.n_classes))


def is_name(name: str) -> bool:
    """Whether the name asks for generated data."""
    return name.lower().split(":")[0] == NAME


def parse_name(name: str) -> Spec:
    """What the name asks for. Raises TsbenchError for what it cannot mean.

    >>> parse_name("synthetic:cases=10").cases
    10
    """
    known = {field.name.removeprefix("n_"): field.name for field in fields(Spec)}
    values = {}
    for setting in filter(None, name.partition(":")[2].split(",")):
        key, _, text = setting.partition("=")
        if key not in known or not (text.isascii() and text.isdigit()):
            raise TsbenchError(
                f"{name}: {setting!r} should be one of {', '.join(sorted(known))}, '=' and a whole number"
            )
        values[known[key]] = int(text)
    spec = Spec(**values)
    if spec.n_classes < 2 or spec.timepoints < 2 or spec.cases < 2 * spec.n_classes:
        raise TsbenchError(
            f"{name}: needs 2 classes, 2 timepoints, and 2 cases a class, or more of each"
        )
    return spec


def generate(spec: Spec, half: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Cases, each (1, timepoints), and labels (cases,) of one split; the same each time."""
    rng = np.random.default_rng([spec.seed, half])
    labels = np.arange(spec.cases) % spec.n_classes
    return tuple(
        _case(label / (spec.n_classes - 1), spec.timepoints, rng)[None] for label in labels
    ), labels


def _case(position: float, timepoints: int, rng: np.random.Generator) -> np.ndarray:
    """One load of the class at `position`, 0 to 1 between the extremes of each property."""

    def draw(extremes: tuple[float, float]) -> float:
        low, high = extremes
        return (low + position * (high - low)) * (1 + SPREAD * rng.standard_normal())

    cycles, duty = draw(CYCLES_PER_CASE), float(np.clip(draw(DUTY_CYCLE), 0.05, 0.95))
    inrush = draw(INRUSH)
    phase = (np.arange(timepoints) / timepoints * cycles + rng.uniform()) % 1
    since_on = phase / duty  # 0 when it switches on, 1 when it switches off
    running = 1 + inrush * np.exp(-since_on / INRUSH_DECAY_SHARE) + RIPPLE * np.sin(40 * since_on)
    return np.where(phase < duty, running, 0.0) + NOISE * rng.standard_normal(timepoints)

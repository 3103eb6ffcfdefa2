"""The types of a comparison of saved runs. `compare.py` fills them, `report` prints them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_energy.model import Interval, Verdict
from pytest_energy.options import Options
from pytest_energy.plan import SUITE_ALPHA, WORK_TOLERANCE
from pytest_energy.runs.noise import Noise, Quantity
from pytest_energy.runs.summary import RunSummary
from pytest_energy.stats.moderated import Spread

# The worst verdict comes first, as in a table.
SEVERITY = ("regressed", "inconclusive", "not gated", "improved", "unchanged")


@dataclass(frozen=True)
class CompareOptions:
    """What counts as a change."""

    tolerance: float = 0.03
    alpha: float = 0.01
    gate_estimates: bool = False
    quality_tolerance: float | None = None
    """How far a quality may drop, in its own unit. None: what chance explains, see `quality.py`."""
    work_tolerance: float = WORK_TOLERANCE
    """For counted work."""
    across_software: bool = False
    """Compare runs of different interpreters and versions, too."""
    suite_alpha: float = SUITE_ALPHA
    """The share of `regressed` ratios that may be chance. In a suite without changes: the
    probability of any."""
    family_wise: bool = False
    """``suite_alpha`` is the probability of any false alarm, whatever else changed."""

    @classmethod
    def of(cls, options: Options, across_software: bool = False) -> CompareOptions:
        """The options of a run or of a command, as far as they concern saved runs."""
        return cls(
            tolerance=options.plan.tolerance,
            alpha=options.plan.alpha,
            gate_estimates=options.gate_estimates,
            quality_tolerance=options.quality_tolerance,
            work_tolerance=options.count_tolerance,
            across_software=across_software,
            suite_alpha=options.suite_alpha,
            family_wise=options.family_wise,
        )


@dataclass(frozen=True)
class Change:
    """How one metric of one benchmark changed."""

    metric: str
    unit: str
    """Of ``old`` and ``new``; "" for a quality."""
    old: float | None
    new: float | None
    """Median over the runs, per call."""
    ratio: Interval | None
    old_runs: int
    new_runs: int
    verdict: Verdict
    advice: str = ""


@dataclass(frozen=True)
class BenchmarkChanges:
    """The changes of one benchmark."""

    name: str
    changes: tuple[Change, ...]

    @property
    def severity(self) -> int:
        """The place of the worst verdict in `SEVERITY`."""
        return min(SEVERITY.index(change.verdict.verdict) for change in self.changes)


@dataclass(frozen=True)
class RunComparison:
    """Two sets of runs, compared."""

    old: tuple[RunSummary, ...]
    new: tuple[RunSummary, ...]
    rows: tuple[BenchmarkChanges, ...]
    """The worst first, then by name."""
    options: CompareOptions
    noise: Noise
    gated: int
    """The number of ratios that were gated together."""
    identical: bool = False
    """Whether OLD and NEW are the same data."""
    suite_spreads: Mapping[Quantity, Spread] = field(default_factory=dict)
    """The spread between runs that the suite shows, where it does; see `stats/moderated.py`."""
    counted_only: str = ""
    """Why only counted work and qualities are compared; "" where time and energy are, too."""

    @property
    def counts(self) -> Counter[str]:
        """How often each verdict occurs."""
        return Counter(change.verdict.verdict for row in self.rows for change in row.changes)

    def failure(self, strict: bool) -> Literal["regressed", "inconclusive"] | None:
        """The worst verdict that fails a build. Inconclusive fails it only with ``strict``."""
        if self.counts["regressed"]:
            return "regressed"
        return "inconclusive" if strict and self.counts["inconclusive"] else None

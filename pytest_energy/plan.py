"""How much to measure and how finely, and who is called on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pytest_energy.errors import OptionError

if TYPE_CHECKING:
    from pytest_energy.model import Interval

Call = Callable[[], object]

# A plain measurement decides less than a comparison, so it has this share of a comparison's time.
MEASURE_SHARE = 0.2
WORK_TOLERANCE = 0.01
# Counts of equal code in two processes differ by up to twice this share (docs/counted-work.md):
# once for each side, also where those of each process agree. Less needs counts of several.
PROCESS_SPREAD = 0.0015
# The false alarms that a suite may have: see `options.Options.suite_alpha`.
SUITE_ALPHA = 0.05


@dataclass(frozen=True)
class Step:
    """How far a measurement is. Reported between windows, never within one."""

    phase: Literal["warm-up", "calibration", "windows", "starts", "blocks"]
    """``starts``: both processes of ``--energy-against`` start and warm up."""
    done: int = 0
    """Windows or blocks so far."""
    spent_s: float = 0.0
    """Seconds for all windows or blocks so far."""
    allowed_s: float = 0.0


def ignore(event: Step | str) -> None:
    """The default callback."""


@dataclass(frozen=True)
class Plan:
    """How much to measure, and how finely."""

    max_time_s: float = 5.0
    """Seconds for a comparison. A plain measurement takes `MEASURE_SHARE` of it."""
    max_quantisation: float = 0.01
    """Windows are made so long that the counter's own error is at most this share of them."""
    alpha: float = 0.01
    """1 - confidence of the intervals of a comparison."""
    alarm_alpha: float | None = None
    """1 - confidence that an alarm requires, as one test of a suite. None: `alpha`."""
    tolerance: float = 0.03
    """A ratio between 1/(1 + tolerance) and 1 + tolerance counts as unchanged."""
    gate_estimates: bool = False
    """Whether estimated joules decide too: windows are then as long as theirs need."""
    idle_watts: Interval | None = None
    """The machine's idle power: ratios of joules are then those of net joules."""
    synchronize: Call | None = None
    """Called before each reading: it waits for queued work, as on a GPU."""
    on_step: Callable[[Step], None] = ignore
    """Called when a phase begins, and between windows."""
    on_void_window: Callable[[str], None] = ignore
    """Called with the reason when the meter failed and the window is taken again."""

    def __post_init__(self) -> None:
        if not (self.max_time_s > 0 and math.isfinite(self.max_time_s)):
            raise OptionError(
                f"the time for a comparison must be more than 0 seconds, not {self.max_time_s!r}"
            )
        if not 0 < self.max_quantisation <= 1:
            raise OptionError(f"the quantisation must lie in (0, 1], not {self.max_quantisation!r}")
        if not 0 < self.alpha < 0.5:
            raise OptionError(f"alpha must lie in (0, 0.5), not {self.alpha!r}")
        if self.alarm_alpha is not None and not 0 < self.alarm_alpha <= self.alpha:
            raise OptionError(
                f"the alpha of an alarm must lie in (0, {self.alpha:g}], not {self.alarm_alpha!r}"
            )
        if not 0 < self.tolerance < 1:
            raise OptionError(f"the tolerance must lie in (0, 1), not {self.tolerance!r}")

    @property
    def least_alpha(self) -> float:
        """The stricter of both: that of an alarm, where there is one."""
        return self.alarm_alpha or self.alpha

    def as_one_of(self, tests: int, suite_alpha: float) -> Plan:
        """The plan for each of so many tests, that all of them together raise a false alarm with
        probability ``suite_alpha`` at most.

        A test has two ratios, time and joules, and each interval one end on the side of alarm.
        """
        return replace(self, alarm_alpha=min(self.alpha, suite_alpha / max(1, tests)))


def collect_void_reasons(plan: Plan) -> tuple[Plan, list[str]]:
    """A plan that also appends the reason of each void window to the list returned with it."""
    reasons: list[str] = []

    def append(reason: str) -> None:
        reasons.append(reason)
        plan.on_void_window(reason)

    return replace(plan, on_void_window=append), reasons

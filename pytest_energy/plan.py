"""How much to measure, how finely, and who is told on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pytest_energy.errors import OptionError

Call = Callable[[], object]

# A plain measurement decides less than a comparison and is given this much of its time.
MEASURE_SHARE = 0.2


@dataclass(frozen=True)
class Step:
    """Where a measurement stands. Told between windows, never within one."""

    phase: Literal["warm-up", "calibration", "windows", "starts", "blocks"]
    """``starts``: of both processes of ``--energy-against``, with their warm-up."""
    done: int = 0
    """Windows or blocks so far."""
    spent_s: float = 0.0
    """On all windows or blocks so far."""
    allowed_s: float = 0.0


def tell_nobody(step: Step | str) -> None:
    """For a measurement that nobody watches."""


@dataclass(frozen=True)
class Plan:
    """How much to measure, and how finely."""

    max_time_s: float = 5.0
    """Time for a comparison; a plain measurement, which decides less, takes `MEASURE_SHARE` of it."""
    max_quantisation: float = 0.01
    """The counter's own error, as a part of a window's energy, that windows are made long enough for."""
    alpha: float = 0.01
    """1 - confidence of the intervals of a comparison."""
    tolerance: float = 0.03
    """What counts as unchanged: a ratio within 1/(1 + tolerance) and 1 + tolerance."""
    synchronize: Call | None = None
    """Called before each reading: waits for work that was only queued, as on a GPU."""
    tell: Callable[[Step], None] = tell_nobody
    """Called where a phase begins, and between windows."""
    void: Callable[[str], None] = tell_nobody
    """Called with the reason where the meter failed and the window is taken again."""

    def __post_init__(self) -> None:
        if not (self.max_time_s > 0 and math.isfinite(self.max_time_s)):
            raise OptionError(
                f"the time for a comparison must be more than 0 seconds, not {self.max_time_s!r}"
            )
        if not 0 < self.max_quantisation <= 1:
            raise OptionError(f"the quantisation must lie in (0, 1], not {self.max_quantisation!r}")
        if not 0 < self.alpha < 0.5:
            raise OptionError(f"alpha must lie in (0, 0.5), not {self.alpha!r}")
        if not 0 < self.tolerance < 1:
            raise OptionError(f"the tolerance must lie in (0, 1), not {self.tolerance!r}")


def noting_void(plan: Plan) -> tuple[Plan, list[str]]:
    """The plan, and the list to which it will add why windows were void."""
    reasons: list[str] = []

    def note(reason: str) -> None:
        reasons.append(reason)
        plan.void(reason)

    return replace(plan, void=note), reasons

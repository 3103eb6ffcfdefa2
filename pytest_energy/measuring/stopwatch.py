"""How long each phase of a test's measurement takes, for the progress line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_energy.clock import now_s
from pytest_energy.plan import Step


@dataclass(frozen=True)
class PhaseTimes:
    """Seconds that one test's measurement took."""

    name: str
    seconds: dict[str, float]
    """Per phase, in the order of the phases."""
    done: int
    """Windows or blocks taken."""

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


class Stopwatch:
    """Times the steps of one measurement and passes each on to ``show``."""

    def __init__(self, name: str, show: Callable[[Step], None], clock: Callable[[], float] = now_s):
        self._name, self._show, self._clock = name, show, clock
        self._seconds: dict[str, float] = {}
        self._phase: str | None = None
        self._since_s = 0.0
        self._last = Step("warm-up")

    def __call__(self, step: Step) -> None:
        self._close()
        self._phase = step.phase
        # A start within --energy-against has no count of its own: show the last count.
        if step.allowed_s:
            self._last = step
        self._show(self._last if self._last.done else step)
        # Showing a step belongs to no phase.
        self._since_s = self._clock()

    def stop(self) -> PhaseTimes:
        """End the last phase, and return the times."""
        self._close()
        self._phase = None
        return PhaseTimes(self._name, dict(self._seconds), self._last.done)

    def _close(self) -> None:
        if self._phase is not None:
            self._seconds[self._phase] = (
                self._seconds.get(self._phase, 0.0) + self._clock() - self._since_s
            )

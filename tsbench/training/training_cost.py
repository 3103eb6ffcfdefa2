"""The joules that a training costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_energy import Meter


class TrainingCost:
    """Gross joules of the machine since the training began; None where two meters would mix."""

    def __init__(self, meter: Meter):
        self._meter = meter
        self._joules_at_start = self._cumulative_joules()
        self._earlier_joules: float | None = 0.0
        self.provenance = str(meter.provenance)  # measured, attributed or estimated

    def add_earlier(self, joules: float | None, provenance: str) -> None:
        """Adds the cost of an interrupted run of the same training.

        Measured and estimated joules never make one number: with another provenance, the
        training's joules are unknown.
        """
        if joules is None or provenance != self.provenance or self._earlier_joules is None:
            self._earlier_joules = None
        else:
            self._earlier_joules += joules

    @property
    def joules(self) -> float | None:
        if self._earlier_joules is None:
            return None
        return self._earlier_joules + self._cumulative_joules() - self._joules_at_start

    def _cumulative_joules(self) -> float:
        # A domain with a parent is already inside it.
        reading = self._meter.read().joules
        return sum(reading[domain.name] for domain in self._meter.domains if domain.parent is None)


@contextmanager
def training_cost() -> Iterator[TrainingCost]:
    """A TrainingCost whose meter is open inside the block."""
    from pytest_energy import open_meter

    with open_meter() as meter:
        yield TrainingCost(meter)

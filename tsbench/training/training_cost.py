"""The joules that training costs, where pytest_energy is installed; tsbench works without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_energy import Meter


class Count:
    """Gross joules of the machine since the count began, None where nothing counts them."""

    def __init__(self, meter: Meter | None):
        self._meter = meter
        self._start = self._now()
        self._before = 0.0
        self.provenance = "" if meter is None else str(meter.provenance)  # measured or estimated

    def go_on_from(self, joules: float | None, provenance: str) -> None:
        """Adds what an earlier process counted, and counts no more if it counted otherwise."""
        if joules is None or provenance != self.provenance:
            self._meter = None  # measured and estimated joules never make one number
        else:
            self._before += joules

    @property
    def joules(self) -> float | None:
        return None if self._meter is None else self._before + self._now() - self._start

    def _now(self) -> float:
        if self._meter is None:
            return 0.0
        # A domain with a parent is inside it already: counting both would count twice.
        reading = self._meter.read().joules
        return sum(reading[domain.name] for domain in self._meter.domains if domain.parent is None)


@contextmanager
def counted() -> Iterator[Count]:
    """A Count that can be asked for its joules inside the block."""
    if find_spec("pytest_energy") is None:
        yield Count(None)
        return
    from pytest_energy import open_meter

    with open_meter() as meter:
        yield Count(meter)

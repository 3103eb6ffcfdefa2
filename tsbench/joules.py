"""The joules that training costs, where pytest_energy is installed; tsbench works without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass
class Count:
    """Gross joules since the count began, None where nothing counts them."""

    joules: float | None = None
    provenance: str = ""  # measured or estimated

    def __str__(self) -> str:
        return "" if self.joules is None else f"{self.joules:.0f} J {self.provenance}"


@contextmanager
def counted() -> Iterator[Count]:
    """Counts what the machine uses inside the block; the count is filled in at its end."""
    count = Count()
    if find_spec("pytest_energy") is None:
        yield count
        return
    from pytest_energy import open_meter

    with open_meter() as meter:
        before = meter.read().joules
        yield count
        after = meter.read().joules
        # A domain with a parent is inside it already: counting both would count twice.
        count.joules = sum(
            after[domain.name] - before[domain.name]
            for domain in meter.domains
            if domain.parent is None
        )
        count.provenance = str(meter.provenance)

"""A meter that counts nothing, for a run that counts work only: its windows hold no joules."""

from __future__ import annotations

from pytest_energy.clock import now_s
from pytest_energy.meters.protocol import Meter
from pytest_energy.model import NO_METER, Domain, Provenance, Reading


class NoMeter(Meter):
    """Reads the clock. Its joules are always 0, which every writer shows as unknown."""

    name = NO_METER
    provenance: Provenance = "estimated"
    domains = (Domain("none"),)
    update_interval_s = 0.0
    resolution_joules = 0.0

    def read(self) -> Reading:
        return Reading(now_s(), {"none": 0.0})

    def close(self) -> None:
        """Nothing is open."""

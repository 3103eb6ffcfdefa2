"""Several meters read as one."""

from __future__ import annotations

from pytest_energy.errors import OptionError
from pytest_energy.meters.machine_cpu import counts_others
from pytest_energy.meters.nvml_clocks import ClockState
from pytest_energy.meters.protocol import Meter, info
from pytest_energy.model import Reading


class CombinedMeter(Meter):
    """Several meters of one provenance, read one after the other.

    Raises `OptionError` for meters of two provenances, and for a domain that two of them count.
    """

    def __init__(self, meters: list[Meter]):
        names = [meter.name for meter in meters]
        if len({meter.provenance for meter in meters}) != 1:
            each = ", ".join(f"{meter.name} is {meter.provenance}" for meter in meters)
            raise OptionError(f"one number cannot mix provenances ({each}); name meters of one")
        domains = [domain.name for meter in meters for domain in meter.domains]
        twice = sorted({name for name in domains if domains.count(name) > 1})
        if twice:
            raise OptionError(f"{twice} would count twice, by {names}; name one of these meters")
        abouts = [info(meter) for meter in meters]
        self._meters = meters
        self.name = "+".join(names)
        self.provenance = meters[0].provenance
        self.domains = tuple(domain for about in abouts for domain in about.domains)
        self.update_interval_s = max(about.update_interval_s for about in abouts)
        self.resolution_joules = max(about.resolution_joules for about in abouts)
        self.band = (min(a.band[0] for a in abouts), max(a.band[1] for a in abouts))
        self.ticks = all(about.ticks for about in abouts)
        self.counts_other_processes = any(map(counts_others, meters))

    @property  # some meters add notes while they are read
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The notes of all meters."""
        return tuple(note for meter in self._meters for note in info(meter).notes)

    def read(self) -> Reading:
        """The readings of all meters, at the instant of the first."""
        readings = [meter.read() for meter in self._meters]
        joules: dict[str, float] = {}
        for reading in readings:
            joules.update(reading.joules)
        return Reading(readings[0].at_s, joules)

    def clock_state(self) -> ClockState | None:
        """That of the first meter which has GPUs."""
        states = (getattr(meter, "clock_state", lambda: None)() for meter in self._meters)
        return next((state for state in states if state is not None), None)

    def close(self) -> None:
        """Close all meters."""
        for meter in self._meters:
            meter.close()

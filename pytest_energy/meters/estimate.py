"""Joules where nothing counts them: worked out from CPU seconds and the machine's watts. An estimate.

Between two reads, joules = seconds x watts(u), where u is the CPU seconds of this process tree over
(seconds x CPUs), and watts(u) runs from idle to full load along a concave curve. So it estimates what the
whole machine would draw if nothing but this process tree ran on it, idle power included, as a CPU
package's sensor would count it; in a virtual machine, the share of the host that its CPUs stand for. What
other programs use meanwhile is left out, and so is a GPU.

It adds nothing that time and CPU seconds did not already say, and every number carries a band.
"""

from __future__ import annotations

import os
import threading

from pytest_energy.errors import MeterFailed, OptionError
from pytest_energy.meters import Meter, MeterSettings
from pytest_energy.meters.power_model import (
    AVERAGE_WATTS_PER_VCPU,
    PUBLISHED_WATTS_PER_VCPU,
    PowerModel,
    microarchitecture,
    watts_are_possible,
)
from pytest_energy.meters.process_cpu import ProcessTreeClock
from pytest_energy.reading import Domain, Reading

DOMAIN = "cpu-estimate"

# The process's clock counts nanoseconds, but it and the wall clock are read one after the other, 0.7 us
# apart here: finer than this, two windows cannot be told apart.
CLOCK_STEP_S = 1e-6

# The CPU clock of a process other than ours moves in scheduler ticks (4 ms at HZ=250, 10 ms at HZ=100), so
# in a short window it can have used more CPU than there was. This much for each CPU waits for the next
# window; beyond it, the CPUs were counted wrong.
CARRIED_S = 0.02


class EstimateMeter(Meter):
    """Joules worked out from the CPU seconds of this process tree."""

    name = "estimate"
    provenance = "estimated"
    domains = (Domain(DOMAIN),)
    update_interval_s = CLOCK_STEP_S

    def __init__(self, model: PowerModel, cpus: int, more_notes: tuple[str, ...] = ()):
        self.model = model
        self.cpus = cpus
        self.band = model.band
        self.resolution_joules = model.full_watts * CLOCK_STEP_S
        self._clock: ProcessTreeClock | None = ProcessTreeClock()
        self.notes = (
            f"estimated, no sensor: from the CPU seconds of this process tree, at {model.idle_watts:.3g} W idle and "
            f"{model.full_watts:.3g} W with all {cpus} CPUs busy ({model.source})",
            f"the truth is taken to lie between {model.band[0]:.2g} and {model.band[1]:.2g} times the estimate",
            *more_notes,
        )
        if not self._clock.follows_descendants:
            self.notes += ("no /proc here: a child's CPU seconds count when it has ended, all at once",)
        self._lock = threading.Lock()
        self._joules = 0.0
        self._carried_s = 0.0
        self._at_s, self._cpu_s = self._clock.read()

    def read(self) -> Reading:
        with self._lock:
            if self._clock is None:
                raise MeterFailed("the estimate was read after it was closed")
            at_s, cpu_s = self._clock.read()
            seconds = at_s - self._at_s
            if seconds > 0:
                available_s = seconds * self.cpus
                used_s = cpu_s - self._cpu_s + self._carried_s
                if used_s > available_s:
                    self._carried_s = min(used_s - available_s, CARRIED_S * self.cpus)
                    used_s = available_s
                else:
                    self._carried_s = 0.0
                self._joules += seconds * self.model.watts(used_s / available_s)
                self._at_s, self._cpu_s = at_s, cpu_s
            return Reading(at_s, {DOMAIN: self._joules})

    def close(self) -> None:
        with self._lock:
            if self._clock is not None:
                self._clock.close()
                self._clock = None


def open_estimate(settings: MeterSettings, argument: str | None = None) -> EstimateMeter:
    """The estimate for this machine, from the best watts that are known for it.

    In this order: the user's own two figures; published ones for this CPU; published averages.
    """
    if argument is not None:
        raise OptionError(f"the estimate takes no argument, and got {argument!r}; give watts as --energy-watts IDLE,FULL")
    cpus = os.cpu_count() or 1
    return EstimateMeter(choose_model(settings.watts, _read_text("/proc/cpuinfo"), cpus), cpus)


def choose_model(watts: tuple[float, float] | None, cpuinfo: str, cpus: int) -> PowerModel:
    """The best model that can be had from the user's watts, else from what the CPU says it is."""
    if watts is not None:
        idle_watts, full_watts = watts
        if not watts_are_possible(idle_watts, full_watts):
            raise OptionError(
                f"watts {idle_watts:g},{full_watts:g} cannot be: idle and full-load watts of the machine are wanted, "
                "0 <= idle <= full and full > 0"
            )
        return PowerModel(idle_watts, full_watts, "the user's figures")
    kind = microarchitecture(cpuinfo)
    if kind is not None:
        idle_watts, full_watts = PUBLISHED_WATTS_PER_VCPU[kind]
        source = f"Cloud Carbon Footprint's {idle_watts:g} to {full_watts:g} W for one CPU of {kind}"
    else:
        idle_watts, full_watts = AVERAGE_WATTS_PER_VCPU
        source = f"unknown CPU: Cloud Carbon Footprint's average of {idle_watts:g} to {full_watts:g} W for one CPU"
    return PowerModel(idle_watts * cpus, full_watts * cpus, source)


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # no such file on this system: then nothing is known of the CPU

"""Estimated joules for machines without a sensor, from CPU seconds and the machine's watts.

Between two reads, joules = seconds x watts(u). u is the CPU seconds of this process tree divided by
(seconds x CPUs), and watts(u) is a concave curve from idle to full-load watts. The result is what a
CPU package's sensor would count, idle power included, if only this process tree ran. In a virtual
machine, it is the share of the host that the machine's CPUs have. Other programs and GPUs do not
count.

Because the curve is concave, more frequent reads of an uneven load give fewer joules. The
difference is at most watts(mean u) minus the mean of watts(u). A steady load is not affected.

An estimate adds no information to time and CPU seconds. Expect it to be within its band.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pytest_energy.errors import MeterFailed, OptionError
from pytest_energy.meters.calibration import find_calibration, read_cpuinfo
from pytest_energy.meters.power_model import (
    APPLE_WATTS_PER_CPU,
    AVERAGE_WATTS_PER_VCPU,
    CLIENT_STAND_IN,
    PUBLISHED_WATTS_PER_VCPU,
    TDP_SHARES,
    PowerModel,
    cpu_name,
    is_apple,
    is_client,
    microarchitecture,
    watts_are_possible,
)
from pytest_energy.meters.process_cpu import ProcessTreeClock
from pytest_energy.meters.protocol import Meter, MeterSettings
from pytest_energy.model import Domain, Reading

DOMAIN = "cpu-estimate"

# The process clock counts nanoseconds, but the meter reads the wall clock 0.7 us later. Windows
# that differ by less than this are indistinguishable.
CLOCK_STEP_S = 1e-6

# The CPU clock of another process moves in scheduler ticks (4 ms at HZ=250, 10 ms at HZ=100), so a
# short window can show more CPU seconds than it has. Up to this much for each CPU is carried to the
# next window. More means that the number of CPUs is wrong.
CARRIED_S = 0.02

# Some zones without a limit have all bits set. The largest machines have eight sockets of 500 W.
IMPLAUSIBLE_TDP_WATTS = 5000.0


class EstimateMeter(Meter):
    """Joules estimated from the CPU seconds of this process tree."""

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
            (
                "estimated, no sensor: from the CPU seconds of this process tree, at "
                f"{model.idle_watts:.3g} W idle and {model.full_watts:.3g} W "
                f"with {f'all {cpus} CPUs' if cpus > 1 else 'its CPU'} busy ({model.source})"
            ),
            *more_notes,
        )
        if not self._clock.follows_descendants:
            self.notes += (
                "this system has no /proc: a child's CPU seconds count only once it has ended",
            )
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
    """The estimate for this machine, from the best watts available.

    In this order: the user's two numbers; a calibration of this machine (from the file
    ``argument``, or from `calibration_path`); watts published for this CPU; a share of its TDP;
    published averages. Raises `OptionError` for impossible watts, and `MeterUnavailable` for a
    broken calibration file.
    """
    cpus = os.cpu_count() or 1
    cpuinfo = read_cpuinfo()
    if settings.watts is not None:
        return EstimateMeter(model_of_watts(*settings.watts), cpus)
    calibration, notes = find_calibration(argument, cpus, cpu_name(cpuinfo))
    if calibration is not None:
        return EstimateMeter(calibration.model(), cpus, notes)
    return EstimateMeter(published_model(cpuinfo, cpus, _tdp_watts(settings.sysfs)), cpus, notes)


def model_of_watts(idle_watts: float, full_watts: float) -> PowerModel:
    """The model with the user's idle and full-load watts. Raises `OptionError` if impossible."""
    if not watts_are_possible(idle_watts, full_watts):
        raise OptionError(
            f"watts {idle_watts:g},{full_watts:g} are impossible; give the machine's idle and "
            "full-load watts, 0 <= idle <= full and full > 0"
        )
    return PowerModel(idle_watts, full_watts, "the user's watts")


def published_model(cpuinfo: str, cpus: int, tdp_watts: float | None) -> PowerModel:
    """The best model without calibration: the CPU's published watts, its TDP, or averages."""
    kind, client = microarchitecture(cpuinfo), is_client(cpuinfo)
    if tdp_watts is not None and (client or kind is None):
        idle_watts, full_watts = (share * tdp_watts for share in TDP_SHARES)
        shares = " and ".join(f"{share:.0%}" for share in TDP_SHARES)
        return PowerModel(idle_watts, full_watts, f"{shares} of the CPU's TDP of {tdp_watts:g} W")
    if is_apple(cpuinfo):
        idle_watts, full_watts = (watts * cpus for watts in APPLE_WATTS_PER_CPU)
        return PowerModel(idle_watts, full_watts, "Apple's watts of a Mac mini M1, by CPU")
    if client:
        vcpu, (idle_watts, full_watts) = (
            f"desktop CPUs ({CLIENT_STAND_IN})",
            PUBLISHED_WATTS_PER_VCPU[CLIENT_STAND_IN],
        )
    elif kind is not None:
        vcpu, (idle_watts, full_watts) = kind, PUBLISHED_WATTS_PER_VCPU[kind]
    else:
        vcpu, (idle_watts, full_watts) = (
            "an average CPU, because this CPU is unknown",
            AVERAGE_WATTS_PER_VCPU,
        )
    source = f"Cloud Carbon Footprint's {idle_watts:g} to {full_watts:g} W per vCPU of {vcpu}"
    return PowerModel(idle_watts * cpus, full_watts * cpus, source)


def _tdp_watts(sysfs: str) -> float | None:
    """The TDP of all packages, or None. Every user may read it, unlike the energy counter."""
    watts = 0.0
    for zone in sorted(Path(sysfs, "powercap").glob("intel-rapl:*")):
        try:
            if (zone / "name").read_text().startswith("package"):
                watts += int((zone / "constraint_0_max_power_uw").read_text()) * 1e-6
        except (OSError, ValueError):
            continue  # no such file (AMD), or an empty one in a virtual machine
    return watts if 0 < watts < IMPLAUSIBLE_TDP_WATTS else None

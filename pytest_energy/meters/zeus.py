"""A bridge to zeus (https://ml.energy/zeus), for devices that only zeus reads.

These are Apple silicon, AMD GPUs, and Jetsons without rails in hwmon. ``nvml`` reads NVIDIA's GPUs,
and ``powercap`` reads RAPL. Written for zeus 0.16: ``zeus.device.soc.get_soc`` returns cumulative
millijoules. ``zeus.device.gpu.AMDGPUs`` returns millijoules if it trusts amdsmi's counter, and
milliwatts if not.
"""

from __future__ import annotations

import importlib
import queue
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from pytest_energy.clock import now_s
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters.plausible import plausible_watts
from pytest_energy.meters.protocol import Meter, MeterSettings
from pytest_energy.meters.sampler import (
    DEFAULT_UPDATE_INTERVAL_S,
    WattsIntegrator,
    assumed_interval_note,
    held_up_notes,
    sampled_note,
    watch_update_intervals,
)
from pytest_energy.model import Domain, Provenance, Reading

JOULES_PER_MILLIJOULE = 1e-3
WATTS_PER_MILLIWATT = 1e-3

JETSON_INTERVAL_S = 0.1
"""A process of zeus samples a Jetson's watts at this interval (zeus/device/soc/jetson.py)."""

INSTALL_REMEDY = 'pip install "pytest-energy[zeus]"'
APPLE_REMEDY = 'pip install "zeus[apple]"'

SOC_FIELDS = {
    "cpu_total_mj": ("apple-cpu", None),
    "dram_mj": ("apple-dram", None),
    "gpu_mj": ("apple-gpu", None),
    # Apple's IOReport has a separate channel for it, outside the GPU's.
    "gpu_sram_mj": ("apple-gpu-sram", None),
    "ane_mj": ("apple-ane", None),
    "total_energy_mj": ("jetson-total", None),
    "cpu_energy_mj": ("jetson-cpu", "jetson-total"),
    "gpu_energy_mj": ("jetson-gpu", "jetson-total"),
}
"""zeus's fields, with domain and parent. apple-cpu includes Apple's cores and clusters."""

KINDS = ("soc", "amd")


class _Counter(NamedTuple):
    """One cumulative counter of millijoules."""

    domain: Domain
    field: str
    """The field of the chip's measurement, or "" for a GPU."""
    gpu: Any


class ZeusMeter(Meter):
    """The joules of the chip (``soc``), of AMD's GPUs (``amd``), or of both.

    Raises `MeterUnavailable` if zeus is not installed or finds no such device.
    """

    name = "zeus"
    provenance: Provenance = "measured"

    def __init__(self, kinds: tuple[str, ...] = KINDS):
        self._zeus = _import_zeus("zeus.exception")
        # From zeus, its native code for Apple, and its Jetson process if that hangs or ends.
        self._errors = (self._zeus.ZeusBaseError, RuntimeError, queue.Empty, OSError)
        self._integrator: WattsIntegrator | None = None
        self._closed = False
        self._soc: Any = None
        self._counters: list[_Counter] = []
        self._sampled: list[tuple[Domain, Callable[[], int]]] = []
        self._notes: list[str] = []
        reasons = []
        for kind, find in (("soc", self._find_soc), ("amd", self._find_amd)):
            if kind in kinds and (reason := find()):
                reasons.append(reason)
        if not self._counters and not self._sampled:
            remedy = (
                APPLE_REMEDY
                if sys.platform == "darwin"
                else "for NVIDIA GPUs use nvml, for CPUs powercap or perf"
            )
            raise MeterUnavailable("zeus finds no readable device: " + "; ".join(reasons), remedy)
        try:
            self._start()
        except MeterFailed as failure:
            self.close()
            raise MeterUnavailable(
                str(failure), "run python -m zeus.show_env to see the cause"
            ) from failure
        self.domains = (
            *(counter.domain for counter in self._counters),
            *(domain for domain, _ in self._sampled),
        )

    @property  # grows while the meter is read
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What was assumed or left out, and whether sampling was ever held up."""
        return (*self._notes, *held_up_notes("zeus", self._integrator))

    def read(self) -> Reading:
        """The joules of each domain since zeus's start instant or, if sampled, since opening."""
        if self._closed:
            raise MeterFailed("the zeus meter was read after it was closed; open it again")
        at_s = now_s()
        millijoules = self._millijoules()
        joules = {
            c.domain.name: mj * JOULES_PER_MILLIJOULE
            for c, mj in zip(self._counters, millijoules, strict=True)
        }
        if self._integrator is not None:
            for (domain, _), value in zip(self._sampled, self._integrator.joules()[1], strict=True):
                joules[domain.name] = value
        return Reading(at_s, joules)

    def close(self) -> None:
        """Stop sampling. zeus releases its devices when the interpreter ends."""
        self._closed = True
        if self._integrator is not None:
            self._integrator.close()

    def _find_soc(self) -> str | None:
        module = _import_zeus("zeus.device.soc")
        try:
            self._soc = module.get_soc()
            measurement = self._soc.get_total_energy_consumption()
        except self._errors as error:
            return str(error) or type(error).__name__
        names = {
            domain: field
            for field, (domain, _) in SOC_FIELDS.items()
            if getattr(measurement, field, None) is not None
        }
        for domain, field in names.items():
            parent = SOC_FIELDS[field][1]
            self._counters.append(
                _Counter(Domain(domain, parent if parent in names else None), field, None)
            )
        if not names:
            return (
                f"zeus reads this chip ({type(self._soc).__name__}), but reports none of "
                f"{', '.join(SOC_FIELDS)}"
            )
        return None

    def _find_amd(self) -> str | None:
        module = _import_zeus("zeus.device.gpu")
        if not module.amdsmi_is_available():
            return "amdsmi finds no AMD GPU"
        refused = []
        try:
            for gpu in module.AMDGPUs().gpus:
                domain = Domain(f"amd-gpu-{gpu.gpu_index}")
                if gpu.supports_get_total_energy_consumption():
                    self._counters.append(_Counter(domain, "", gpu))
                elif power := self._power_of(gpu):
                    self._sampled.append((domain, power))
                else:
                    refused.append(
                        f"{domain.name} ({gpu.get_name()}) gives neither energy nor power"
                    )
        except self._errors as error:
            return str(error) or type(error).__name__
        self._notes += [f"zeus: {reason}: it is left out" for reason in refused]
        return "; ".join(refused) or None

    def _power_of(self, gpu: Any) -> Callable[[], int] | None:
        power: Callable[[], int]
        for power in (gpu.get_average_power_usage, gpu.get_instant_power_usage):
            try:
                power()
            except self._errors:
                continue  # try the other; if both fail, a note names the GPU
            return power
        return None

    def _start(self) -> None:
        intervals: list[float] = []
        steps: list[float] = []
        if self._counters:
            intervals += self._watch()
            steps.append(JOULES_PER_MILLIJOULE)
        if self._sampled:
            self._integrator = WattsIntegrator(self._watts)
            intervals.append(DEFAULT_UPDATE_INTERVAL_S)
            steps.append(WATTS_PER_MILLIWATT * self._integrator.interval_s)
            names = (domain.name for domain, _ in self._sampled)
            self._notes.append(f"zeus: {sampled_note(names, self._integrator)}")
        self.update_interval_s = max(intervals)
        self.ticks = self._integrator is None
        self.resolution_joules = max(steps)

    def _watch(self) -> list[float]:
        if any(counter.domain.name.startswith("jetson") for counter in self._counters):
            self._notes.append(
                f"zeus: a Jetson's joules are power sampled every {JETSON_INTERVAL_S * 1000:g} ms"
            )
            return [JETSON_INTERVAL_S]
        intervals = []
        for counter, interval_s in zip(
            self._counters, watch_update_intervals(self._millijoules), strict=True
        ):
            if interval_s is None and counter.gpu is not None:
                self._notes.append(f"zeus: {assumed_interval_note(counter.domain.name)}")
                interval_s = DEFAULT_UPDATE_INTERVAL_S
            # An idle engine of the chip, such as Apple's ANE, shows no interval.
            if interval_s is not None:
                intervals.append(interval_s)
        return intervals or [DEFAULT_UPDATE_INTERVAL_S]

    def _millijoules(self) -> list[float]:
        try:
            soc = (
                self._soc.get_total_energy_consumption()
                if any(c.gpu is None for c in self._counters)
                else None
            )
            return [
                c.gpu.get_total_energy_consumption() if c.gpu is not None else getattr(soc, c.field)
                for c in self._counters
            ]
        except self._errors as error:
            raise MeterFailed(
                f"zeus failed to read its counters: {str(error) or type(error).__name__}"
            ) from error

    def _watts(self) -> list[float]:
        try:
            return [
                plausible_watts(domain.name, power() * WATTS_PER_MILLIWATT)
                for domain, power in self._sampled
            ]
        except self._errors as error:
            raise MeterFailed(
                f"zeus failed to read power: {str(error) or type(error).__name__}"
            ) from error


def open_zeus(settings: MeterSettings, argument: str | None) -> ZeusMeter:
    """Open all devices (``zeus``), the chip alone (``zeus:soc``), or AMD's GPUs (``zeus:amd``)."""
    del settings  # zeus has its own search for devices
    if argument is None:
        return ZeusMeter()
    if argument not in KINDS:
        raise OptionError(
            f"zeus:{argument} is unknown; use {' or '.join(f'zeus:{kind}' for kind in KINDS)}"
        )
    return ZeusMeter((argument,))


def _import_zeus(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == "zeus":
            raise MeterUnavailable("the package zeus is not installed", INSTALL_REMEDY) from error
        if error.name is not None and name.startswith(error.name):
            raise MeterUnavailable(
                "the installed package zeus is a different one, or older than 0.16",
                INSTALL_REMEDY,
            ) from error
        raise MeterUnavailable(
            f"zeus requires the package {error.name}, which is not installed", INSTALL_REMEDY
        ) from error

"""NVIDIA GPUs, through NVML and its Python binding (the package nvidia-ml-py).

Volta and newer count joules (``nvmlDeviceGetTotalEnergyConsumption``, millijoules since the driver
was loaded). Power is sampled on GPUs without that counter, and the notes say so. A GPU that gives
neither is named, and never counts as 0.

The counter stands still for 20 to 100 ms, depending on the GPU, and then jumps. No manual has the
interval, so the meter watches the counter when it is opened.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pytest_energy.clock import now_s
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters.cuda_visible import Gpu, uuids_from_torch, visible_gpus
from pytest_energy.meters.nvml_clocks import ClockState, GpuClockWatch
from pytest_energy.meters.plausible import CheckedCounter, plausible_watts
from pytest_energy.meters.protocol import Meter, MeterSettings
from pytest_energy.meters.sampler import (
    DEFAULT_UPDATE_INTERVAL_S,
    WATCH_BOUND_S,
    WattsIntegrator,
    assumed_interval_note,
    held_up_notes,
    sampled_note,
    watch_update_intervals,
)
from pytest_energy.model import Domain, Provenance, Reading

JOULES_PER_MILLIJOULE = 1e-3
WATTS_PER_MILLIWATT = 1e-3

INSTALL_REMEDY = 'pip install "pytest-energy[nvml]"'
DRIVER_REMEDY = "install or load the NVIDIA driver, until nvidia-smi lists the GPU"
PERMISSION_REMEDY = (
    "give this user read and write access to /dev/nvidiactl and /dev/nvidia*, or start the "
    "container with its GPUs (--gpus all)"
)
NOT_SUPPORTED_REMEDY = (
    "this GPU has no power sensor that NVML may read (a MIG instance, a vGPU or an old GeForce); "
    "measure on the whole GPU, or name the others, as nvml:0+2"
)
REBOOT_REMEDY = "the driver was updated under a running kernel module: reload the module, or reboot"


@dataclass(eq=False)
class _Gpu:
    """One GPU and its counter."""

    index: int
    handle: Any
    label: str
    counter: CheckedCounter
    update_interval_s: float = DEFAULT_UPDATE_INTERVAL_S

    @property
    def domain(self) -> str:
        return f"gpu-{self.index}"


class NvmlMeter(Meter):
    """The joules of NVIDIA GPUs, each a domain: ``gpu-0``, ``gpu-1``, with nvidia-smi's numbers.

    ``indices`` picks GPUs; without it, the GPUs that are visible to CUDA programs count. Raises
    `MeterUnavailable` with NVML's reason if there is nothing to read, and `OptionError` if
    CUDA_VISIBLE_DEVICES is ambiguous.
    """

    name = "nvml"
    provenance: Provenance = "measured"
    counts_other_processes = False

    def __init__(self, indices: tuple[int, ...] | None = None):
        self._nvml = _import_nvml()
        self._integrator: WattsIntegrator | None = None
        self._closed = False
        self._notes: list[str] = []
        _start(self._nvml)
        try:
            self._open(indices)
        except BaseException:
            self.close()
            raise

    @property  # grows while the meter is read
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What was assumed or left out, and whether sampling was ever held up."""
        return (*self._notes, *held_up_notes("nvml", self._integrator))

    def read(self) -> Reading:
        """The joules of each GPU since its driver was loaded, or, if sampled, since opening."""
        if self._closed:
            raise MeterFailed("the nvml meter was read after it was closed; open it again")
        at_s = now_s()
        joules = {}
        for gpu in self._counted:
            joules[gpu.domain] = self._joules(gpu)
        if self._integrator is not None:
            for gpu, value in zip(self._sampled, self._integrator.joules()[1], strict=True):
                joules[gpu.domain] = value
        return Reading(at_s, joules)

    def clock_state(self) -> ClockState | None:
        """The limits of the GPUs' clocks and the clocks, for the windows of a comparison."""
        return None if self._closed else self._clocks.read()

    def close(self) -> None:
        """Stop sampling and shut NVML down."""
        if self._closed:
            return
        self._closed = True
        if self._integrator is not None:
            self._integrator.close()
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            pass  # the driver is gone, and nothing is read after this

    def _open(self, indices: tuple[int, ...] | None) -> None:
        gpus = self._find(indices)
        refused: list[str] = []
        errors: list[Exception] = []
        self._counted: list[_Gpu] = []
        self._sampled: list[_Gpu] = []
        for gpu in gpus:
            energy_error = self._error_of("nvmlDeviceGetTotalEnergyConsumption", gpu)
            if energy_error is None:
                self._counted.append(gpu)
                continue
            power_error = self._error_of("nvmlDeviceGetPowerUsage", gpu)
            if power_error is None:
                self._sample(gpu, f"has no energy counter ({energy_error})")
            else:
                refused.append(
                    f"{gpu.label} gives neither energy ({energy_error}) nor power ({power_error})"
                )
                errors += [energy_error, power_error]
        if refused and (indices is not None or len(refused) == len(gpus)):
            raise MeterUnavailable(
                "; ".join(refused), _remedy(self._nvml, *errors), _denied(self._nvml, *errors)
            )
        self._notes += [f"nvml: {reason}: it is left out" for reason in refused]
        try:
            self._watch()
            if self._sampled:
                self._integrator = WattsIntegrator(self._watts)
        except MeterFailed as failure:
            raise MeterUnavailable(
                f"reading failed while it was opened: {failure}", DRIVER_REMEDY
            ) from failure
        used = [gpu for gpu in gpus if gpu in self._counted or gpu in self._sampled]
        self._clocks = GpuClockWatch(self._nvml, [gpu.handle for gpu in used])
        self._notes += [note for gpu in used if (note := self._mig_note(gpu))]
        self.domains = tuple(Domain(gpu.domain) for gpu in used)
        intervals = [gpu.update_interval_s for gpu in self._counted]
        steps = [JOULES_PER_MILLIJOULE] * bool(self._counted)
        if self._integrator is not None:
            intervals.append(DEFAULT_UPDATE_INTERVAL_S)
            steps.append(WATTS_PER_MILLIWATT * self._integrator.interval_s)
            note = sampled_note((gpu.label for gpu in self._sampled), self._integrator)
            # NVML's reference on nvmlDeviceGetPowerUsage; GA100 is an exception.
            self._notes.append(f"nvml: {note}, averaged over 1 s since Ampere")
        self.update_interval_s = max(intervals)
        self.ticks = self._integrator is None
        self.resolution_joules = max(steps)

    def _sample(self, gpu: _Gpu, reason: str) -> None:
        self._sampled.append(gpu)
        self._notes.append(f"nvml: {gpu.label} {reason}")

    def _find(self, indices: tuple[int, ...] | None) -> list[_Gpu]:
        try:
            there = range(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            reason = f"NVML cannot count the GPUs: {error}"
            raise MeterUnavailable(
                reason, _remedy(self._nvml, error), _denied(self._nvml, error)
            ) from error
        if not there:
            raise MeterUnavailable("the NVIDIA driver is there, but lists no GPU", DRIVER_REMEDY)
        if indices is not None and (missing := [i for i in indices if i not in there]):
            raise MeterUnavailable(
                f"there is no GPU {missing[0]}", f"this machine has 0 to {there[-1]}"
            )
        chosen = indices if indices is not None else self._visible(there)
        gpus: list[_Gpu] = []
        for index in chosen:
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                label = f"gpu-{index} ({self._nvml.nvmlDeviceGetName(handle)})"
                gpus.append(_Gpu(index, handle, label, CheckedCounter(f"{label}: its counter")))
            except self._nvml.NVMLError as error:
                # Without it, its joules would be a silent 0.
                remedy = f"{_remedy(self._nvml, error)}; or name the others, as nvml:0+2"
                raise MeterUnavailable(
                    f"gpu-{index} cannot be opened: {error}", remedy, _denied(self._nvml, error)
                ) from error
        return gpus

    def _visible(self, there: range) -> list[int]:
        gpus = [Gpu(index, *self._name_and_uuid(index)) for index in there]
        visible, notes = visible_gpus(os.environ, gpus, self._mig_parent, uuids_from_torch)
        self._notes += notes
        return visible

    def _name_and_uuid(self, index: int) -> tuple[str, str]:
        texts = []
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            for function in (self._nvml.nvmlDeviceGetName, self._nvml.nvmlDeviceGetUUID):
                texts.append(str(function(handle)))
        except self._nvml.NVMLError:
            pass  # an old driver; a GPU that cannot be opened is reported where it is opened
        name, uuid = [*texts, "", ""][:2]
        return name, uuid

    def _mig_parent(self, mig_id: str) -> int | None:
        """The number of the GPU that has this MIG instance."""
        try:
            instance = self._nvml.nvmlDeviceGetHandleByUUID(mig_id.encode())
            parent = self._nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)
            return int(self._nvml.nvmlDeviceGetIndex(parent))
        except self._nvml.NVMLError:
            return None

    def _error_of(self, function: str, gpu: _Gpu) -> Exception | None:
        try:
            getattr(self._nvml, function)(gpu.handle)
        except self._nvml.NVMLError as error:
            refused: Exception = error
            return refused
        return None

    def _mig_note(self, gpu: _Gpu) -> str | None:
        try:
            current_mode, _pending_mode = self._nvml.nvmlDeviceGetMigMode(gpu.handle)
        except self._nvml.NVMLError:
            return None  # older than MIG
        if current_mode != self._nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        return (
            f"nvml: {gpu.label} is in MIG mode: the joules are the whole GPU's, all its instances "
            "together"
        )

    def _joules(self, gpu: _Gpu) -> float:
        try:
            millijoules: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle)
        except self._nvml.NVMLError as error:
            raise MeterFailed(f"{gpu.label}: reading its energy counter failed: {error}") from error
        return gpu.counter.step(millijoules * JOULES_PER_MILLIJOULE, now_s())

    def _watts(self) -> list[float]:
        watts = []
        for gpu in self._sampled:
            try:
                milliwatts = self._nvml.nvmlDeviceGetPowerUsage(gpu.handle)
            except self._nvml.NVMLError as error:
                raise MeterFailed(f"{gpu.label}: reading its power failed: {error}") from error
            watts.append(plausible_watts(gpu.label, milliwatts * WATTS_PER_MILLIWATT))
        return watts

    def _watch(self) -> None:
        """Find the update intervals of all counters at once."""
        watched = self._counted.copy()
        intervals = watch_update_intervals(lambda: [self._joules(gpu) for gpu in watched])
        for gpu, interval_s in zip(watched, intervals, strict=True):
            if interval_s is None:
                self._stands_still(gpu)
                continue
            gpu.update_interval_s = interval_s
            if interval_s == WATCH_BOUND_S:
                self._notes.append(
                    f"nvml: {gpu.label} updates less often than every {WATCH_BOUND_S / 2:g} s"
                )

    def _stands_still(self, gpu: _Gpu) -> None:
        """A counter that did not move is dead if the GPU draws power, else perhaps asleep."""
        try:
            draws_power = self._nvml.nvmlDeviceGetPowerUsage(gpu.handle) > 0
        except self._nvml.NVMLError:
            draws_power = False
        if draws_power:
            self._counted.remove(gpu)
            self._sample(
                gpu,
                f"has an energy counter that stood still for {WATCH_BOUND_S:g} s while it drew "
                "power",
            )
        else:
            self._notes.append(f"nvml: {assumed_interval_note(gpu.label)}")


def open_nvml(settings: MeterSettings, argument: str | None) -> NvmlMeter:
    """Open the GPUs that ``argument`` lists, as in ``nvml:0+2``, or all that CUDA sees."""
    del settings  # has nothing for GPUs
    if argument is None:
        return NvmlMeter()
    parts = [part.strip() for part in argument.split("+")]
    if not all(part.isdecimal() for part in parts) or len({int(part) for part in parts}) != len(
        parts
    ):
        raise OptionError(f"nvml:{argument}: list each GPU once by its number, as in nvml:0+2")
    return NvmlMeter(tuple(int(part) for part in parts))


def _import_nvml() -> ModuleType:
    try:
        import pynvml
    except ModuleNotFoundError as error:
        if error.name != "pynvml":
            raise
        raise MeterUnavailable(
            "the package nvidia-ml-py is not installed", INSTALL_REMEDY
        ) from error
    nvml: ModuleType = pynvml
    return nvml


def _start(nvml: ModuleType) -> None:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise MeterUnavailable(
            f"NVML cannot be started: {error}", _remedy(nvml, error), _denied(nvml, error)
        ) from error


def _remedy(nvml: ModuleType, *errors: Any) -> str:
    """The remedy of the first error that has one of its own, else the driver's."""
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
            f"libnvidia-ml.so.1 comes with the driver: {DRIVER_REMEDY}"
        ),
        nvml.NVML_ERROR_NO_PERMISSION: PERMISSION_REMEDY,
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: REBOOT_REMEDY,
        nvml.NVML_ERROR_NOT_SUPPORTED: NOT_SUPPORTED_REMEDY,
    }
    return next((known[error.value] for error in errors if error.value in known), DRIVER_REMEDY)


def _denied(nvml: ModuleType, *errors: Any) -> bool:
    return any(error.value == nvml.NVML_ERROR_NO_PERMISSION for error in errors)

"""Sensors in /sys/class/hwmon: AMD and Intel GPUs, AMD's CPUs, INA3221 on Jetsons, Grace, boards.

What the sensors of one machine count may overlap. Known overlaps count once (hwmon_totals.py). If
that is unknown, one channel must be named, as in ``hwmon:VDD_CPU_CV``. Channels that the user joins
with plus signs are added up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_energy.clock import now_s
from pytest_energy.descriptors import OwnDescriptor
from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters.hwmon_sensors import (
    CORE_LABEL,
    SOCKET_LABEL,
    Sensor,
    domain_names,
    find_sensors,
    pick_sensors,
)
from pytest_energy.meters.hwmon_totals import holder, may_overlap
from pytest_energy.meters.plausible import (
    DEAD_WHILE_OTHERS_MOVE_J,
    CheckedCounter,
    plausible_watts,
)
from pytest_energy.meters.protocol import Meter, MeterSettings, split_root
from pytest_energy.meters.sampler import (
    DEFAULT_UPDATE_INTERVAL_S,
    WattsIntegrator,
    assumed_interval_note,
    held_up_notes,
    sampled_note,
    watch_update_intervals,
)
from pytest_energy.meters.virtual import rapl_provenance
from pytest_energy.model import Domain, Provenance, Reading

JOULES_PER_MICROJOULE = 1e-6
WATTS_PER_MICROWATT = 1e-6
VALUE_BYTES = 64
"""More than any of these files holds: a 64-bit number has at most 20 digits."""
RAPL_CHIP = "amd_energy"
"""Reads the CPU's RAPL registers, which a hypervisor may make up."""


@dataclass(eq=False)
class _OpenSensor:
    """A sensor with open files, so that a read is one system call per file."""

    sensor: Sensor
    domain: str
    counter: CheckedCounter
    files: list[OwnDescriptor] = field(default_factory=list)

    def value(self) -> int:
        product = 1
        for file, path in zip(self.files, self.sensor.paths, strict=True):
            product *= _number(file, path)
        return product

    def joules(self) -> float:
        return self.counter.step(self.value() * JOULES_PER_MICROJOULE, now_s())


class HwmonMeter(Meter):
    """The joules of the sensors that ``pick`` names: a chip, a label, a domain, or several with +.

    Without ``pick``, those of the only chip. Raises `MeterUnavailable` if there are several chips,
    or if what the channels of the chip count may overlap.
    """

    name = "hwmon"
    provenance: Provenance

    def __init__(
        self,
        root: str | Path,
        pick: str | None = None,
        *,
        cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo",
        trust_sensor: bool = False,
    ):
        sensors = find_sensors(Path(root))
        names = domain_names(sensors)
        picked, chips = pick_sensors(sensors, names, pick, root)
        holders = {s: holder(s, [o for o in picked if o is not s]) for s in picked}
        top = [sensor for sensor in picked if holders[sensor] is None]
        for chip in chips:
            _refuse_overlap([sensor for sensor in top if sensor.chip == chip], names)
        self._closed = False
        self._integrator: WattsIntegrator | None = None
        self.provenance = "measured"
        self._notes: list[str] = []
        if any(sensor.chip == RAPL_CHIP for sensor in picked):
            self.provenance, notes = rapl_provenance(cpuinfo, trust_sensor)
            self._notes += notes
        self._open = [_OpenSensor(s, names[s], CheckedCounter(f"{s.paths[0]}")) for s in picked]
        try:
            for each in self._open:
                each.files += [_open(path) for path in each.sensor.paths]
            self._start()
        except MeterFailed as failure:
            self.close()
            raise MeterUnavailable(
                str(failure), "check its driver and its wiring, or name other sensors"
            ) from failure
        except BaseException:
            self.close()
            raise
        alive = {each.sensor for each in self._open}
        self.domains = tuple(
            Domain(names[s], names[held_by] if held_by in alive else None)
            for s, held_by in holders.items()
            if s in alive
        )
        if may_overlap(top):
            added = ", ".join(names[sensor] for sensor in top)
            self._notes.append(
                f"hwmon: the total adds up {added}, as named; whether these overlap is unknown"
            )
        if left_out := sum(
            CORE_LABEL.fullmatch(s.label) is not None and s not in picked for s in sensors
        ):
            self._notes.append(
                f"hwmon: {left_out} core counters are inside the sockets and left out; name one "
                "to see it"
            )

    @property  # grows while the meter is read
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What was assumed or left out, and whether sampling was ever held up."""
        return (*self._notes, *held_up_notes("hwmon", self._integrator))

    def read(self) -> Reading:
        """The joules of each sensor since its driver was loaded, or, if sampled, since opening."""
        if self._closed:
            raise MeterFailed("the hwmon meter was read after it was closed; open it again")
        at_s = now_s()
        joules = {each.domain: each.joules() for each in self._counted}
        if self._integrator is not None:
            for each, value in zip(self._sampled, self._integrator.joules()[1], strict=True):
                joules[each.domain] = value
        return Reading(at_s, joules)

    def close(self) -> None:
        """Stop sampling and close the files."""
        self._closed = True
        if self._integrator is not None:
            self._integrator.close()
        for each in self._open:
            while each.files:
                each.files.pop().close()

    def _start(self) -> None:
        self._counted = [each for each in self._open if each.sensor.counts_joules]
        self._sampled = [each for each in self._open if not each.sensor.counts_joules]
        intervals: list[float] = []
        steps: list[float] = []
        if self._counted:
            intervals += self._watch()
            steps.append(JOULES_PER_MICROJOULE)
        if self._sampled:
            self._integrator = WattsIntegrator(self._watts)
            # A value that the kernel refreshes more often than the thread reads it.
            intervals += [
                max(each.sensor.interval_s or 0.0, self._integrator.interval_s)
                for each in self._sampled
            ]
            steps.append(WATTS_PER_MICROWATT * self._integrator.interval_s)
            names = (each.domain for each in self._sampled)
            self._notes.append(f"hwmon: {sampled_note(names, self._integrator)}")
        self.update_interval_s = max(intervals)
        self.ticks = self._integrator is None
        self.resolution_joules = max(steps)

    def _watch(self) -> list[float]:
        before = [each.joules() for each in self._counted]
        found = watch_update_intervals(lambda: [each.joules() for each in self._counted])
        gained = [each.joules() - j for each, j in zip(self._counted, before, strict=True)]
        others_move = max(gained) >= DEAD_WHILE_OTHERS_MOVE_J
        intervals = []
        for each, interval_s, joules in zip(self._counted.copy(), found, gained, strict=True):
            # A sleeping GPU rightly stands still. A socket never sleeps that deep.
            if others_move and not joules and SOCKET_LABEL.fullmatch(each.sensor.label):
                self._notes.append(
                    f"hwmon: {each.domain} stands still while the others move: its counter is "
                    "dead, and is not counted"
                )
                self._leave_out(each)
                continue
            if interval_s is None:
                interval_s = each.sensor.interval_s or DEFAULT_UPDATE_INTERVAL_S
                self._notes.append(f"hwmon: {assumed_interval_note(each.domain, interval_s)}")
            intervals.append(interval_s)
        return intervals

    def _leave_out(self, dead: _OpenSensor) -> None:
        self._open.remove(dead)
        self._counted.remove(dead)
        while dead.files:
            dead.files.pop().close()

    def _watts(self) -> list[float]:
        return [
            plausible_watts(each.domain, each.value() * WATTS_PER_MICROWATT)
            for each in self._sampled
        ]


def open_hwmon(settings: MeterSettings, argument: str | None) -> HwmonMeter:
    """The sensors that ``argument`` names. A tree elsewhere: ``hwmon:root=DIR``."""
    pick, root = split_root(argument, os.path.join(settings.sysfs, "hwmon"))
    return HwmonMeter(root, pick, trust_sensor=settings.trust_sensor)


def _refuse_overlap(channels: Sequence[Sensor], names: Mapping[Sensor, str]) -> None:
    if not may_overlap(channels):
        return
    listed = ", ".join(names[sensor] for sensor in channels)
    raise MeterUnavailable(
        f"what these channels count may overlap, so they cannot be added: {listed}",
        f"name one, as hwmon:{names[channels[0]]}, or those that add up, with + between",
    )


def _open(path: Path) -> OwnDescriptor:
    try:
        return OwnDescriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError as error:
        raise MeterUnavailable(
            f"{path} may not be read by this user", f"sudo chmod a+r {path}, after each boot", True
        ) from error
    except OSError as error:
        raise MeterUnavailable(
            f"{path} cannot be opened: {error.strerror}", "check its driver"
        ) from error


def _number(file: OwnDescriptor, path: Path) -> int:
    try:
        file.check()
        text = os.pread(file.number, VALUE_BYTES, 0)
    except OSError as error:
        raise MeterFailed(f"reading {path} failed: {error.strerror}") from error
    try:
        return int(text)
    except ValueError as error:
        raise MeterFailed(f"{path} holds {text!r}, which is no number") from error

"""Sensors in /sys/class/hwmon: AMD's amd_energy, INA3221 on Jetsons, Grace, and what single-board computers have.

The kernel's ABI (Documentation/hwmon/sysfs-interface): ``energy*_input`` counts microjoules,
``power*_average`` and ``power*_input`` tell microwatts, of which the average is taken where there are
both, since no burst falls between its samples. An INA3221 tells only ``in*_input`` in millivolts and
``curr*_input`` in milliamperes, of which channels 1 to 3 belong together (Documentation/hwmon/ina3221).

What the sensors of one machine count may overlap, and nothing tells by how much: so one chip or label is
named, as in ``hwmon:amd_energy`` or ``hwmon:VDD_GPU_SOC+VDD_CPU_CV``, and what was named is added up.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters.protocol import Meter, MeterSettings, split_root
from pytest_energy.meters.sampler import (
    DEFAULT_UPDATE_INTERVAL_S,
    WATCH_BOUND_S,
    WattsIntegrator,
    held_up_notes,
    watch_update_intervals,
)
from pytest_energy.model import Domain, Provenance, Reading

JOULES_PER_MICROJOULE = 1e-6
WATTS_PER_MICROWATT = 1e-6
SECONDS_PER_MILLISECOND = 1e-3

VALUE_BYTES = 64
"""More than any of these files holds: a 64-bit number has at most 20 digits."""

CORE_LABEL = re.compile(r"Ecore\d+")
"""amd_energy's cores. Each read of one interrupts that core, and they are inside the sockets: only by name."""

INSIDE = (
    (CORE_LABEL, r"Esocket\d+"),
    # Grace: the module holds the GPU too, the Grace socket holds CPU, SysIO and DRAM (Grace Performance Tuning
    # Guide, "Power Telemetry"). Instances of one socket carry one number.
    (re.compile(r"(?:CPU|SysIO) Power Socket (\d+)"), r"Grace Power Socket {0}"),
    (re.compile(r"Grace Power Socket (\d+)"), r"Module Power Socket {0}"),
    # Jetson: the module's supply, before the regulators of its other rails (Jetson Linux Developer Guide, "Power Monitors").
    (re.compile(r"(?!VDD_IN$)(?:VDD|VIN)_\w+"), r"VDD_IN"),
    (re.compile(r"(?!POM_5V_IN$)POM_5V_\w+"), r"POM_5V_IN"),
)
"""Which labels lie inside which, as patterns, of what is known to do so."""


@dataclass(frozen=True)
class Sensor:
    """One thing that a chip tells of: its files, and how their product becomes joules or watts."""

    chip: str
    device: str
    """Tells chips of one name apart, and stays the same over a reboot where the kernel lets it."""
    stem: str
    label: str
    paths: tuple[Path, ...]
    counts_joules: bool
    interval_s: float | None
    """Between two values, as the kernel states it, or None where it does not."""


@dataclass(eq=False)
class _OpenSensor:
    """A sensor with its files held open, so that a read is one system call a file."""

    sensor: Sensor
    domain: str
    files: list[int] = field(default_factory=list)
    last_microjoules: int = 0

    def value(self) -> int:
        product = 1
        for file, path in zip(self.files, self.sensor.paths, strict=True):
            product *= _number(file, path)
        return product

    def microjoules(self) -> int:
        now = self.value()
        if now < self.last_microjoules:
            raise MeterFailed(
                f"{self.sensor.paths[0]} went back from {self.last_microjoules} to {now} microjoules; "
                "its driver was reloaded, so open the meter again"
            )
        self.last_microjoules = now
        return now


class HwmonMeter(Meter):
    """The joules of the sensors that ``pick`` names: a chip, a label, a domain, or several with plus signs between.

    Without ``pick``, of the only chip that tells of energy or power. Raises `MeterUnavailable` where there
    are several, and names them.
    """

    name = "hwmon"
    provenance: Provenance = "measured"

    def __init__(self, root: str | Path, pick: str | None = None):
        sensors = find_sensors(Path(root))
        names = domain_names(sensors)
        picked = _pick(sensors, names, pick, root)
        self._closed = False
        self._integrator: WattsIntegrator | None = None
        self._notes: list[str] = []
        self._open = [_OpenSensor(sensor, names[sensor]) for sensor in picked]
        try:
            for each in self._open:
                each.files += [_open(path) for path in each.sensor.paths]
            self._start()
        except MeterFailed as failure:
            self.close()
            raise MeterUnavailable(
                str(failure), "see that its driver works, or name other sensors"
            ) from failure
        except BaseException:
            self.close()
            raise
        parents = {each.domain: _parent(each, self._open) for each in self._open}
        self.domains = tuple(Domain(name, parent) for name, parent in parents.items())
        top = [name for name, parent in parents.items() if parent is None]
        if len(top) > 1:
            self._notes.append(
                f"hwmon: the total adds up {', '.join(top)}; whether these overlap cannot be told from here"
            )
        if left_out := sum(
            CORE_LABEL.fullmatch(s.label) is not None and s not in picked for s in sensors
        ):
            self._notes.append(
                f"hwmon: {left_out} core counters are left out, being inside the sockets; name one to see it"
            )

    @property  # grows while it is read
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What a reader of the numbers has to know, and whether sampling was ever held up."""
        return (*self._notes, *held_up_notes("hwmon", self._integrator))

    def read(self) -> Reading:
        """The joules of each sensor: since its driver was loaded, or since the meter was opened where it is sampled."""
        if self._closed:
            raise MeterFailed("the hwmon meter was read after it was closed; open it again")
        at_s = time.perf_counter()
        joules = {each.domain: each.microjoules() * JOULES_PER_MICROJOULE for each in self._counted}
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
                os.close(each.files.pop())

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
            # A value that the kernel refreshes faster than we look is as old as our look.
            intervals += [
                max(each.sensor.interval_s or 0.0, self._integrator.interval_s)
                for each in self._sampled
            ]
            steps.append(WATTS_PER_MICROWATT * self._integrator.interval_s)
            sampled = ", ".join(each.domain for each in self._sampled)
            self._notes.append(
                f"hwmon: {sampled}: joules are power sampled every {self._integrator.interval_s * 1000:g} ms"
            )
        self.update_interval_s = max(intervals)
        self.ticks = self._integrator is None
        self.resolution_joules = max(steps)

    def _watch(self) -> list[float]:
        found = watch_update_intervals(lambda: [each.microjoules() for each in self._counted])
        intervals = []
        for each, interval_s in zip(self._counted, found, strict=True):
            if interval_s is None:
                interval_s = each.sensor.interval_s or DEFAULT_UPDATE_INTERVAL_S
                self._notes.append(
                    f"hwmon: {each.domain} did not move in {WATCH_BOUND_S:g} s; "
                    f"an update interval of {interval_s * 1000:g} ms is assumed"
                )
            intervals.append(interval_s)
        return intervals

    def _watts(self) -> list[float]:
        return [each.value() * WATTS_PER_MICROWATT for each in self._sampled]


def open_hwmon(settings: MeterSettings, argument: str | None) -> HwmonMeter:
    """The sensors that ``argument`` names. A tree elsewhere: ``hwmon:root=DIR``."""
    pick, root = split_root(argument, os.path.join(settings.sysfs, "hwmon"))
    return HwmonMeter(root, pick)


def find_sensors(root: Path) -> list[Sensor]:
    """Every sensor of energy or power below ``root``, readable or not. Empty where there is none."""
    folders = sorted(root.glob("hwmon*"), key=lambda folder: (len(folder.name), folder.name))
    return [sensor for folder in folders for sensor in _sensors_of(folder)]


def domain_names(sensors: Sequence[Sensor]) -> dict[Sensor, str]:
    """A name for each, after chip and label, unique, and without what means something in ``hwmon:a+b,nvml``."""
    spellings: tuple[Callable[[Sensor], str], ...] = (
        lambda s: f"{s.chip}-{s.label}",
        lambda s: f"{s.chip}-{s.device}-{s.label}",
        lambda s: f"{s.chip}-{s.device}-{s.label}-{s.stem}",
    )
    names = dict.fromkeys(sensors, "")
    for spelling in spellings:
        times = Counter(names.values())
        names = {
            s: _spelled(spelling(s)) if not name or times[name] > 1 else name
            for s, name in names.items()
        }
    taken: set[str] = set()
    for sensor, name in names.items():
        number = 1
        while names[sensor] in taken:  # only where labels were made to collide
            number += 1
            names[sensor] = f"{name}-{number}"
        taken.add(names[sensor])
    return names


def _spelled(name: str) -> str:
    return re.sub(r"[\s,:+]+", "_", name)


def _sensors_of(folder: Path) -> list[Sensor]:
    # Drivers of the old registration keep their files in device/, acpi_power_meter (Grace) among them.
    places = [place for place in (folder, folder / "device") if place.is_dir()]
    chip = next((name for place in places if (name := _text(place / "name"))), folder.name)
    device = (
        os.path.basename(os.path.realpath(folder / "device"))
        if (folder / "device").is_symlink()
        else folder.name
    )
    sensors: dict[str, Sensor] = {}
    for place in places:
        interval_s = _seconds(place / "update_interval")
        for path in sorted(place.glob("energy*_input")):
            stem = path.name.removesuffix("_input")
            sensors.setdefault(
                stem, Sensor(chip, device, stem, _label(place, stem), (path,), True, interval_s)
            )
        for path in [*sorted(place.glob("power*_average")), *sorted(place.glob("power*_input"))]:
            stem, _, kind = path.name.partition("_")
            own_s = _seconds(place / f"{stem}_average_interval") if kind == "average" else None
            sensors.setdefault(
                stem,
                Sensor(
                    chip, device, stem, _label(place, stem), (path,), False, own_s or interval_s
                ),
            )
        if chip == "ina3221":
            for channel in "123":
                volts, amperes = place / f"in{channel}_input", place / f"curr{channel}_input"
                off = _text(place / f"in{channel}_enable") == "0"  # reading it would be an error
                if (
                    volts.exists()
                    and amperes.exists()
                    and not off
                    and f"power{channel}" not in sensors
                ):
                    stem = f"in{channel}"
                    sensors.setdefault(
                        stem,
                        Sensor(
                            chip,
                            device,
                            stem,
                            _label(place, stem),
                            (volts, amperes),
                            False,
                            interval_s,
                        ),
                    )
    return list(sensors.values())


def _label(place: Path, stem: str) -> str:
    return _text(place / f"{stem}_label") or _text(place / f"{stem}_oem_info") or stem


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""  # a label is a nicety, and there is a name without it


def _seconds(path: Path) -> float | None:
    text = _text(path)
    return int(text) * SECONDS_PER_MILLISECOND if text.isdecimal() else None


def _pick(
    sensors: list[Sensor], names: dict[Sensor, str], pick: str | None, root: str | Path
) -> list[Sensor]:
    if not sensors:
        raise MeterUnavailable(
            f"no sensor of energy or power under {root}",
            "load its driver (modprobe), or name another folder: --energy-meter hwmon:root=DIR",
        )
    chips = sorted({sensor.chip for sensor in sensors})
    if pick is None:
        if len(chips) > 1:
            raise MeterUnavailable(
                f"several chips tell of energy or power, and what they count may overlap: {', '.join(chips)}",
                f"name one, as hwmon:{chips[0]}",
            )
        pick = chips[0]
    picked: list[Sensor] = []
    for part in [pick] if _matches(sensors, names, pick) else pick.split("+"):
        found = _matches(sensors, names, part.strip())
        if not found:
            there = ", ".join([*chips, *(names[sensor] for sensor in sensors)])
            raise MeterUnavailable(
                f"no chip, label or domain is called {part.strip()!r} under {root}",
                f"there are: {there}",
            )
        picked += [sensor for sensor in found if sensor not in picked]
    return picked


def _matches(sensors: list[Sensor], names: dict[Sensor, str], word: str) -> list[Sensor]:
    named = [sensor for sensor in sensors if word in (sensor.label, names[sensor])]
    of_chip = [sensor for sensor in sensors if word == sensor.chip]
    return (
        named or [sensor for sensor in of_chip if not CORE_LABEL.fullmatch(sensor.label)] or of_chip
    )


def _parent(inner: _OpenSensor, opened: list[_OpenSensor]) -> str | None:
    """The domain among the opened that holds this one already, where that is known.

    amd_energy does not say on which of several sockets a core is: it is put inside the first, so that it
    counts once in the total, which is all that a parent decides.
    """
    for label, holder in INSIDE:
        if match := label.fullmatch(inner.sensor.label):
            wanted = re.compile(holder.replace("{0}", match.group(1)) if match.groups() else holder)
            for outer in opened:
                if outer.sensor.chip == inner.sensor.chip and wanted.fullmatch(outer.sensor.label):
                    return outer.domain
    return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise MeterUnavailable(
            f"{path} may not be read by this user", f"sudo chmod a+r {path}, after each boot", True
        ) from error
    except OSError as error:
        raise MeterUnavailable(
            f"{path} cannot be opened: {error.strerror}", "see that its driver works"
        ) from error


def _number(file: int, path: Path) -> int:
    try:
        text = os.pread(file, VALUE_BYTES, 0)
    except OSError as error:
        raise MeterFailed(f"reading {path} failed: {error.strerror}") from error
    try:
        return int(text)
    except ValueError as error:
        raise MeterFailed(f"{path} holds {text!r}, which is no number") from error

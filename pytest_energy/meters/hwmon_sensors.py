"""The sensors of /sys/class/hwmon: their files, their names, and which of them a user picks.

The kernel's ABI is Documentation/hwmon/sysfs-interface. ``energy*_input`` counts microjoules.
``power*_average`` and ``power*_input`` give microwatts; the average is used if there are both: no
burst falls between its samples. An INA3221 gives only ``in*_input`` in millivolts and
``curr*_input`` in milliamperes, with channels 1 to 3 in pairs (Documentation/hwmon/ina3221).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_energy.errors import MeterUnavailable

SECONDS_PER_MILLISECOND = 1e-3

CORE_LABEL = re.compile(r"Ecore\d+")
"""amd_energy's cores. A read interrupts the core, and the sockets hold them: only by name."""
SOCKET_LABEL = re.compile(r"Esocket\d+")
"""amd_energy's sockets, which are RAPL's packages."""
_PART_OF_A_GPU = re.compile(r"(i915)_gt\d+")
"""i915's tiles, as chips of their own beside the card's."""
GPU_DRIVERS = ("amdgpu", "xe", "i915", "nouveau")
ALL_GPUS, COUNTING_GPUS = "gpus", "counting-gpus"
"""As a pick: every GPU that is a card of its own, or only those that count joules."""
_INTEGRATED_LABEL = "vddnb"
"""amdgpu's in1_label on a GPU within a CPU (amdgpu_pm.c hides it on cards). Its power is that of
the whole package, which powercap counts too."""


@dataclass(frozen=True)
class Sensor:
    """One quantity of a chip: the files whose product is its joules or watts."""

    chip: str
    device: str
    """Separates chips of one name. It is stable over a reboot if the kernel's name for it is."""
    stem: str
    label: str
    paths: tuple[Path, ...]
    counts_joules: bool
    interval_s: float | None
    """Between two values, as the kernel states it, or None."""


def find_sensors(root: Path) -> list[Sensor]:
    """Every sensor of energy or power below ``root``, readable or not."""
    folders = sorted(root.glob("hwmon*"), key=lambda folder: (len(folder.name), folder.name))
    return [sensor for folder in folders for sensor in _sensors_of(folder)]


def domain_names(sensors: Sequence[Sensor]) -> dict[Sensor, str]:
    """A unique name for each, of chip and label, without the signs of ``hwmon:a+b,nvml``."""
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
        while names[sensor] in taken:  # only labels that collide on purpose
            number += 1
            names[sensor] = f"{name}-{number}"
        taken.add(names[sensor])
    return names


def _spelled(name: str) -> str:
    return re.sub(r"[\s,:+]+", "_", name)


def _sensors_of(folder: Path) -> list[Sensor]:
    # Old drivers keep their files in device/, among them acpi_power_meter (Grace).
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
                if f"power{channel}" not in sensors and (paths := _channel(place, channel)):
                    stem = f"in{channel}"
                    sensor = Sensor(
                        chip, device, stem, _label(place, stem), paths, False, interval_s
                    )
                    sensors.setdefault(stem, sensor)
    return list(sensors.values())


def _channel(place: Path, channel: str) -> tuple[Path, Path] | None:
    """An INA3221's files of volts and amperes, unless the channel is off: a read would fail."""
    volts, amperes = place / f"in{channel}_input", place / f"curr{channel}_input"
    if _text(place / f"in{channel}_enable") == "0" or not volts.exists() or not amperes.exists():
        return None
    return volts, amperes


def _label(place: Path, stem: str) -> str:
    return _text(place / f"{stem}_label") or _text(place / f"{stem}_oem_info") or stem


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""  # a name works without a label


def _seconds(path: Path) -> float | None:
    text = _text(path)
    return int(text) * SECONDS_PER_MILLISECOND if text.isdecimal() else None


def pick_sensors(
    sensors: list[Sensor], names: dict[Sensor, str], pick: str | None, root: str | Path
) -> tuple[list[Sensor], list[str]]:
    """The sensors that ``pick`` names, or those of the only chip; and the chips that it names.

    ``gpus`` names every GPU that is a card of its own. Raises `MeterUnavailable`, which lists what
    there is.
    """
    if not sensors:
        raise MeterUnavailable(
            f"no sensor of energy or power under {root}",
            "load its driver (modprobe), or name another folder: --energy-meter hwmon:root=DIR",
        )
    chips = sorted({sensor.chip for sensor in sensors})
    gpus = _gpus(sensors)
    if pick in (ALL_GPUS, COUNTING_GPUS):
        picked = [s for s in gpus if s.counts_joules or pick == ALL_GPUS]
        if not picked:
            what = "counts joules" if gpus else "is a GPU that is a card of its own"
            raise MeterUnavailable(
                f"no chip under {root} {what}",
                f"name one, as hwmon:{chips[0]}" + (f", or hwmon:{ALL_GPUS}" if gpus else ""),
            )
        return picked, []
    if pick is None:
        whole = [chip for chip in chips if not _is_part(chip, chips)]
        if len(whole) > 1:
            raise MeterUnavailable(
                f"several chips report energy or power, and may overlap: {', '.join(whole)}",
                f"name one, as hwmon:{whole[0]}"
                + (f", or all GPUs, as hwmon:{ALL_GPUS}" if gpus else ""),
            )
        pick = whole[0]
    parts = [pick] if _matches(sensors, names, pick) else [part.strip() for part in pick.split("+")]
    picked = []
    for part in parts:
        found = _matches(sensors, names, part)
        if not found:
            there = ", ".join([*chips, *(names[sensor] for sensor in sensors)])
            raise MeterUnavailable(
                f"no chip, label or domain is called {part!r} under {root}", f"there are: {there}"
            )
        picked += [sensor for sensor in found if sensor not in picked]
    return picked, [part for part in parts if part in chips]


def _gpus(sensors: Sequence[Sensor]) -> list[Sensor]:
    """The sensors of GPUs that are cards of their own."""
    return [
        sensor
        for sensor in sensors
        if sensor.chip in GPU_DRIVERS
        and _text(sensor.paths[0].parent / "in1_label") != _INTEGRATED_LABEL
    ]


def _is_part(chip: str, chips: Sequence[str]) -> bool:
    match = _PART_OF_A_GPU.fullmatch(chip)
    return match is not None and match[1] in chips


def _matches(sensors: list[Sensor], names: dict[Sensor, str], word: str) -> list[Sensor]:
    named = [sensor for sensor in sensors if word in (sensor.label, names[sensor])]
    of_chip = [sensor for sensor in sensors if word == sensor.chip]
    return (
        named or [sensor for sensor in of_chip if not CORE_LABEL.fullmatch(sensor.label)] or of_chip
    )

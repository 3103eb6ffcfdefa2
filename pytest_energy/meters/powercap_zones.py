"""The RAPL zones of a powercap tree: their names, and which of them count the same joules.

powercap.py reads the counters. The names come from the kernel's
drivers/powercap/intel_rapl_common.c, which serves Intel and AMD.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_energy.errors import MeterUnavailable, OptionError

# Two dies with counters this close share one counter: a large socket draws this in ten updates. Two
# separate counters are this close by chance once in 26 000 (10 J of 262 kJ).
MIRROR_SLACK_UJ = 5_000_000
# "AMD/HYGON platforms use per-PKG package energy counter": the comment above
# rapl_msrs_are_pkg_scope in intel_rapl_common.c (2024). Older kernels show that counter once per
# die.
ONE_COUNTER_A_PACKAGE = ("AuthenticAMD", "HygonGenuine")
ALL_DOMAINS = "all"

_CONTROL = re.compile(r"intel-rapl(-[a-z]+)?")
# The kernel numbers zones in hexadecimal.
_ZONE = re.compile(r"(?P<control>intel-rapl(-[a-z]+)?):(?P<address>[0-9a-f]+(:[0-9a-f]+)*)")
_PACKAGE = re.compile(r"package-(?P<package>\d+)(-die-(?P<die>\d+))?")
_PSYS = re.compile(r"psys(-\d+)?")
_INSIDE_PACKAGE = ("core", "uncore")

_NO_SENSOR = (
    "load the driver (sudo modprobe intel_rapl_msr); in a container, mount the host's "
    "/sys/class/powercap and name its folder: --energy-meter powercap:root=DIR; most virtual "
    "machines have no such sensor: use --energy-meter estimate"
)
_MASKED = (
    "a container usually masks /sys/devices/virtual/powercap: mount it from the host, and name "
    "its folder: --energy-meter powercap:root=DIR"
)


@dataclass(frozen=True)
class Counter:
    """One domain and the folder of its counter."""

    name: str
    folder: str
    inside: tuple[str, ...] = ()
    """The domains that already include this one's joules, nearest first."""
    counted: bool = True
    """Whether it counts if the user names no domains."""


@dataclass(frozen=True)
class ZoneLayout:
    """The domains of a tree, each once, and the notes about them."""

    root: str
    counters: dict[str, Counter]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Zone:
    control: str
    address: str
    folder: str
    name: str


def find_counters(root: str, cpuinfo: str | os.PathLike[str]) -> ZoneLayout:
    """Every domain under ``root``. Raises `MeterUnavailable` if there is none.

    The vendor in ``cpuinfo`` decides whether each die of a package has its own counter.
    """
    zones = _find_zones(root)
    psys = tuple(zone.name for zone in zones if _PSYS.fullmatch(zone.name))
    counters: dict[str, Counter] = {}
    notes: list[str] = []

    def add(zone: _Zone, name: str, inside: tuple[str, ...], counted: bool = True) -> None:
        # intel-rapl comes first. A second zone of the same name is intel-rapl-mmio's view of the
        # same register.
        counters.setdefault(name, Counter(name, zone.folder, inside, counted))

    for zone in zones:
        package = _PACKAGE.fullmatch(zone.name)
        if ":" in zone.address:
            continue  # its package adds it
        if _PSYS.fullmatch(zone.name):
            add(zone, zone.name, (), counted=False)
            continue
        if package is None:
            notes.append(_unknown_zone_note(zone))
            continue
        place = package["package"]
        if package["die"] is not None:
            siblings = [
                z
                for z in zones
                if z.control == zone.control and z.name.startswith(f"package-{place}-die-")
            ]
            one_counter = _why_one_counter(siblings, cpuinfo)
            if one_counter and zone is not siblings[0]:
                notes.append(f"{zone.name} is not counted: {one_counter}")
                continue
            if not one_counter:
                place = f"{place}-die-{package['die']}"
        add(zone, f"package-{place}", psys)
        for inner in zones:
            if inner.control == zone.control and inner.address.startswith(f"{zone.address}:"):
                if inner.name == "dram":
                    add(inner, f"dram-{place}", psys)
                elif inner.name in _INSIDE_PACKAGE:
                    add(inner, f"{inner.name}-{place}", (f"package-{place}", *psys), counted=False)
                else:
                    notes.append(_unknown_zone_note(inner))
    if psys:
        notes.append(
            f"{' and '.join(psys)} already includes the packages, and counts only if named "
            f"(powercap:{psys[0]})"
        )
    if not any(name.startswith("dram-") for name in counters):
        notes.append("no zone counts DRAM, so the joules do not include memory")
    if not counters:
        raise MeterUnavailable(f"{root} has no known RAPL zone: {'; '.join(notes)}", _NO_SENSOR)
    return ZoneLayout(root, counters, tuple(notes))


def choose(found: ZoneLayout, domains: Sequence[str] | None) -> list[Counter]:
    """The named counters, or packages and DRAM. Raises `OptionError` for an unknown name."""
    if domains is None:
        counted = [counter for counter in found.counters.values() if counter.counted]
        if not counted:
            names = "+".join(found.counters)
            raise MeterUnavailable(
                f"{found.root} has no package, only {names}",
                f"name it: --energy-meter powercap:{names}",
            )
        return counted
    if list(domains) == [ALL_DOMAINS]:
        return [counter for counter in found.counters.values() if not _PSYS.fullmatch(counter.name)]
    unknown = [name for name in domains if name not in found.counters]
    if unknown or not domains:
        raise OptionError(
            f"no powercap domain is called {' or '.join(map(repr, unknown)) or repr('')}; "
            f"{found.root} has: {', '.join(found.counters)}; {ALL_DOMAINS} means all except psys; "
            "join several with +"
        )
    return [found.counters[name] for name in dict.fromkeys(domains)]


def core_note(chosen: Sequence[Counter], cpuinfo: str | os.PathLike[str]) -> tuple[str, ...]:
    """A note for AMD's ``core-N``: the kernel reads MSR_AMD_CORE_ENERGY_STATUS on one CPU only."""
    cores = [counter.name for counter in chosen if counter.name.startswith("core-")]
    vendor = cpu_vendor(cpuinfo) if cores else ""
    if vendor not in ONE_COUNTER_A_PACKAGE:
        return ()
    return (f"on {vendor} {' and '.join(cores)} counts one core of the package, not all of them",)


def read_number(path: str) -> int:
    """The positive whole number in a file. Raises `MeterUnavailable` if it holds none."""
    try:
        with open(path, "rb") as file:
            number = int(file.read())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if number <= 0:
        raise MeterUnavailable(
            f"{path} contains {number}; a counter's range must be above 0", "use another meter"
        )
    return number


def unreadable(path: str, error: Exception) -> MeterUnavailable:
    """The error for a counter's unreadable file, with the remedy."""
    if isinstance(error, PermissionError):
        return MeterUnavailable(
            f"this user may not read {path} (root only since CVE-2020-8694)",
            f"until the next boot: sudo chmod a+r {path}; permanently, in "
            '/etc/udev/rules.d/70-powercap.rules: ACTION=="add", SUBSYSTEM=="powercap", '
            'KERNEL=="intel-rapl*:*", RUN+="/bin/chmod a+r /sys%p/energy_uj"; '
            "or give the interpreter CAP_DAC_READ_SEARCH, or use --energy-meter perf with "
            "CAP_PERFMON",
            denied=True,
        )
    cause = error.strerror if isinstance(error, OSError) else error
    return MeterUnavailable(
        f"{path} cannot be read: {cause}",
        "name the readable domains, such as --energy-meter powercap:package-0",
    )


def _find_zones(root: str) -> list[_Zone]:
    """Each zone once. Its folder is in the root, in its parent's folder, or, in sysfs, in both."""
    folders: dict[str, str] = {}
    try:
        for folder in _zone_folders(root):
            folders.setdefault(os.path.basename(folder), folder)
    except FileNotFoundError as error:
        raise MeterUnavailable(f"{error.filename} does not exist", _NO_SENSOR) from error
    except OSError as error:
        raise MeterUnavailable(
            f"{error.filename} cannot be listed: {error.strerror}", _NO_SENSOR
        ) from error
    if not folders:
        raise MeterUnavailable(f"{root} has no RAPL zone, such as intel-rapl:0", _NO_SENSOR)
    zones = []
    for basename, folder in folders.items():
        if match := _ZONE.fullmatch(basename):
            zones.append(_Zone(match["control"], match["address"], folder, _read_name(folder)))
    return sorted(
        zones, key=lambda zone: (zone.control, [int(part, 16) for part in zone.address.split(":")])
    )


def _zone_folders(folder: str) -> Iterator[str]:
    for entry in sorted(os.listdir(folder)):
        inner = os.path.join(folder, entry)
        if (_CONTROL.fullmatch(entry) or _ZONE.fullmatch(entry)) and os.path.isdir(inner):
            if _ZONE.fullmatch(entry):
                yield inner
            yield from _zone_folders(inner)


def _read_name(folder: str) -> str:
    path = os.path.join(folder, "name")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError as error:
        raise MeterUnavailable(f"{path} cannot be read: {error.strerror}", _MASKED) from error


def _unknown_zone_note(zone: _Zone) -> str:
    return (
        f"{zone.folder} is not counted: its name, {zone.name!r}, is not the name of a RAPL domain"
    )


def _why_one_counter(dies: list[_Zone], cpuinfo: str | os.PathLike[str]) -> str:
    """Why these dies share one counter, or an empty string if each has its own.

    On AMD and Hygon they share one. On Intel's Cascade Lake-AP each die has its own. There, and for
    an unknown vendor, dies with equal counters share one: `MIRROR_SLACK_UJ` has the odds.
    """
    if len(dies) < 2:
        return ""
    vendor = cpu_vendor(cpuinfo)
    if vendor in ONE_COUNTER_A_PACKAGE:
        return f"on {vendor} the dies of a package share one counter, that of {dies[0].name}"
    first_path = os.path.join(dies[0].folder, "energy_uj")
    for die in dies[1:]:
        before_uj = _read_energy_uj(first_path)
        energy_uj = _read_energy_uj(os.path.join(die.folder, "energy_uj"))
        after_uj = _read_energy_uj(first_path)
        if (
            energy_uj <= MIRROR_SLACK_UJ
            or not before_uj - MIRROR_SLACK_UJ <= energy_uj <= after_uj + MIRROR_SLACK_UJ
        ):
            return ""
    return f"its counter and that of {dies[0].name} have the same value, so they are one counter"


def _read_energy_uj(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def cpu_vendor(cpuinfo: str | os.PathLike[str]) -> str:
    """``GenuineIntel``, ``AuthenticAMD``, …, or an empty string if ``cpuinfo`` names none."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            match = re.search(r"^vendor_id\s*:\s*(\S+)", file.read(), re.MULTILINE)
    except OSError:
        return ""  # then the counters' values decide
    return match[1] if match else ""

"""RAPL through perf's ``power`` PMU: powercap's registers, with CAP_PERFMON instead of root.

``/sys/bus/event_source/devices/power`` has ``type``, ``events/energy-pkg`` and other events with
``.scale`` and ``.unit``, and in ``cpumask`` one CPU per package. The meter opens each event once on
each of these CPUs. The kernel sums the register in 64 bits, so the count does not wrap.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_energy.clock import now_s
from pytest_energy.descriptors import OwnDescriptor
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters.powercap import RAPL_UPDATE_INTERVAL_S
from pytest_energy.meters.powercap_zones import ALL_DOMAINS, ONE_COUNTER_A_PACKAGE, cpu_vendor
from pytest_energy.meters.protocol import Meter, MeterSettings
from pytest_energy.meters.virtual import rapl_provenance
from pytest_energy.model import Domain, Reading

# perf's scale is 2**-32 J, finer than the registers, and perf does not show the registers' unit.
# 2**-14 J is Intel's for packages, the coarsest in common use (AMD and server DRAM: 2**-16 J).
RAPL_STEP_JOULES = 2**-14
COUNT_BYTES = 8

# linux/perf_event.h: the first 64 bytes of perf_event_attr, which kernels accept since 2.6.32:
# type, size, config, and zeros. Zeros mean: count from now on, no sampling, no grouping.
_ATTR = struct.Struct("<IIQ48x")
_ANY_PROCESS = -1
_NO_GROUP = -1
_FLAG_FD_CLOEXEC = 8
_SYSCALL_NUMBERS = {"x86_64": 298, "aarch64": 241}

T = TypeVar("T")

# perf's name: (domain, whether it is inside the package, whether it counts by default)
_EVENTS = {
    "energy-pkg": ("package", False, True),
    "energy-ram": ("dram", False, True),
    "energy-cores": ("core", True, False),
    "energy-gpu": ("uncore", True, False),
    "energy-psys": ("psys", False, False),
}

_NO_PMU = (
    "load the driver (sudo modprobe rapl); most virtual machines have no such sensor: use "
    "--energy-meter estimate"
)
_NOT_ALLOWED = (
    "give the interpreter CAP_PERFMON (sudo setcap cap_perfmon=ep on the real python binary; "
    "CAP_SYS_ADMIN before Linux 5.8), or until the next boot: sudo sysctl "
    "kernel.perf_event_paranoid=0; in a container, add --cap-add PERFMON"
)


def open_perf(settings: MeterSettings, argument: str | None) -> PerfMeter:
    """Open ``perf``, ``perf:psys``, ``perf:package-0+core-0`` or ``perf:all``."""
    return PerfMeter(
        domains=argument.split("+") if argument else None, trust_sensor=settings.trust_sensor
    )


class PerfMeter(Meter):
    """Cumulative joules since opening, of every package and its DRAM, or of the given ``domains``.

    Raises `MeterUnavailable` if there is no ``power`` PMU or this user may not use it, and
    `OptionError` for an unknown domain. ``pmu``, ``cpus`` and ``cpuinfo`` are the kernel's
    descriptions of the PMU, of the CPUs' packages and of the vendor.
    """

    name = "perf"
    update_interval_s = RAPL_UPDATE_INTERVAL_S

    def __init__(
        self,
        pmu: str | os.PathLike[str] = "/sys/bus/event_source/devices/power",
        domains: Sequence[str] | None = None,
        *,
        cpus: str | os.PathLike[str] = "/sys/devices/system/cpu",
        cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo",
        trust_sensor: bool = False,
    ):
        found = _find_events(
            os.fspath(pmu), os.fspath(cpus), cpu_vendor(cpuinfo) in ONE_COUNTER_A_PACKAGE
        )
        chosen = _choose(found, domains, os.fspath(pmu))
        names = {event.domain for event in chosen}
        self.domains = tuple(
            Domain(event.domain, next((p for p in event.inside if p in names), None))
            for event in chosen
        )
        self.resolution_joules = max(
            RAPL_STEP_JOULES, *(event.joules_per_count for event in chosen)
        )
        self.provenance, about = rapl_provenance(cpuinfo, trust_sensor)
        notes = [*about]
        if "psys" in found and "psys" not in names:
            notes.append("psys already includes the packages, and counts only if named (perf:psys)")
        if not any(name.startswith("dram") for name in found):
            notes.append("no event counts DRAM, so the joules do not include memory")
        self.notes = tuple(notes)
        self._open_events: list[tuple[str, OwnDescriptor, float]] = []
        self._closed = False
        try:
            for event in chosen:
                file = OwnDescriptor(_open_event(event))
                self._open_events.append((event.domain, file, event.joules_per_count))
        except MeterUnavailable:
            self.close()
            raise

    def read(self) -> Reading:
        """The cumulative joules of every domain now."""
        if self._closed:
            raise MeterFailed("the perf meter is closed")
        at_s = now_s()
        joules = {}
        for domain, file, joules_per_count in self._open_events:
            try:
                file.check()  # reading another file would take its bytes
                count = os.read(file.number, COUNT_BYTES)
            except OSError as error:
                raise MeterFailed(
                    f"reading perf's counter of {domain} failed: {error.strerror}"
                ) from error
            if len(count) != COUNT_BYTES:  # an event in an error state returns no bytes
                raise MeterFailed(
                    f"perf's counter of {domain} has stopped: its CPU was probably taken offline"
                )
            joules[domain] = int.from_bytes(count, "little") * joules_per_count
        return Reading(at_s, joules)

    def close(self) -> None:
        """Close the events. Reading after this raises `MeterFailed`."""
        self._closed = True
        while self._open_events:
            self._open_events.pop()[1].close()


@dataclass(frozen=True)
class _Event:
    domain: str
    path: str
    cpu: int
    pmu_type: int
    config: int
    joules_per_count: float
    inside: tuple[str, ...]
    counted: bool


def _find_events(pmu: str, cpus: str, one_counter_a_package: bool) -> dict[str, _Event]:
    if not os.path.isdir(pmu):
        raise MeterUnavailable(f"{pmu} does not exist: this kernel has no RAPL PMU", _NO_PMU)
    pmu_type = _read_as(int, os.path.join(pmu, "type"))
    places = _places(_read_as(_cpu_list, os.path.join(pmu, "cpumask")), cpus, one_counter_a_package)
    events: dict[str, _Event] = {}
    for name, (kind, in_package, counted) in _EVENTS.items():
        path = os.path.join(pmu, "events", name)
        if not os.path.exists(path):
            continue
        unit = _read(f"{path}.unit")
        if unit != "Joules":
            raise MeterUnavailable(
                f"{path}.unit must be Joules, got {unit!r}",
                "use --energy-meter powercap",
            )
        scale = _read_as(float, f"{path}.scale")
        config = _config(_read(path), pmu)
        # psys is one counter for the whole platform, so it opens on one CPU, of the first package.
        for place, cpu in list(places.items())[:1] if kind == "psys" else places.items():
            domain = kind if kind == "psys" else f"{kind}-{place}"
            inside = (
                () if kind == "psys" else (f"package-{place}", "psys") if in_package else ("psys",)
            )
            events[domain] = _Event(domain, path, cpu, pmu_type, config, scale, inside, counted)
    if not events:
        raise MeterUnavailable(f"{pmu}/events has none of {', '.join(_EVENTS)}", _NO_PMU)
    return events


def _choose(found: dict[str, _Event], domains: Sequence[str] | None, pmu: str) -> list[_Event]:
    if domains is None:
        counted = [event for event in found.values() if event.counted]
        if not counted:
            raise MeterUnavailable(
                f"{pmu} has no package, only {', '.join(found)}",
                f"name it: --energy-meter perf:{'+'.join(found)}",
            )
        return counted
    if list(domains) == [ALL_DOMAINS]:
        return [event for event in found.values() if event.domain != "psys"]
    unknown = [name for name in domains if name not in found]
    if unknown or not domains:
        raise OptionError(
            f"no perf domain is called {' or '.join(map(repr, unknown)) or repr('')}; {pmu} has: "
            f"{', '.join(found)}; {ALL_DOMAINS} means all except psys; join several with +"
        )
    return [found[name] for name in dict.fromkeys(domains)]


def _places(cpu_numbers: list[int], cpus: str, one_counter_a_package: bool) -> dict[str, int]:
    """The CPU that counts each package (``0``), or each die with its own counter (``0-die-1``).

    AMD's and Hygon's dies have none (see powercap_zones.py), but kernels before 2024 list them.
    """
    topology = {cpu: os.path.join(cpus, f"cpu{cpu}", "topology") for cpu in cpu_numbers}
    packages = {
        cpu: _read(os.path.join(folder, "physical_package_id")) for cpu, folder in topology.items()
    }
    places: dict[str, int] = {}
    for cpu, package in packages.items():
        apart = list(packages.values()).count(package) > 1 and not one_counter_a_package
        place = (
            f"{package}-die-{_read(os.path.join(topology[cpu], 'die_id'))}" if apart else package
        )
        places.setdefault(place, cpu)
    return places


def _cpu_list(text: str) -> list[int]:
    """The CPU numbers in the kernel's notation, such as ``0-1,18``."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _config(terms: str, pmu: str) -> int:
    """The config for an event's terms (``event=0x02``), from the PMU's formats (``config:0-7``)."""
    config = 0
    for term in terms.split(","):
        key, _, value = term.partition("=")
        where = re.fullmatch(r"config:(\d+)(?:-(\d+))?", _read(os.path.join(pmu, "format", key)))
        if where is None:
            raise MeterUnavailable(
                f"{pmu}/format/{key} must contain config:BITS, such as config:0-7",
                "use --energy-meter powercap",
            )
        low, high = int(where[1]), int(where[2] or where[1])
        config |= (int(value or "1", 0) & (2 ** (high - low + 1) - 1)) << low
    return config


def _open_event(event: _Event) -> int:
    number = _SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        raise MeterUnavailable(
            f"the number of the system call perf_event_open on {platform.machine()} is unknown",
            "use --energy-meter powercap",
        )
    attr = ctypes.create_string_buffer(
        _ATTR.pack(event.pmu_type, _ATTR.size, event.config), _ATTR.size
    )
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    fd: int = syscall(number, attr, _ANY_PROCESS, event.cpu, _NO_GROUP, _FLAG_FD_CLOEXEC)
    if fd >= 0:
        return fd
    code = ctypes.get_errno()
    reason = f"{event.path} cannot be counted on CPU {event.cpu}: {os.strerror(code)}"
    if code in (errno.EACCES, errno.EPERM):
        raise MeterUnavailable(
            f"{reason} (kernel.perf_event_paranoid is {_paranoid()})", _NOT_ALLOWED, denied=True
        )
    raise MeterUnavailable(reason, "use --energy-meter powercap")


def _paranoid() -> str:
    try:
        return _read("/proc/sys/kernel/perf_event_paranoid")
    except MeterUnavailable:
        return "unreadable"


def _read_as(kind: Callable[[str], T], path: str) -> T:
    text = _read(path)
    try:
        return kind(text)
    except ValueError as error:
        raise MeterUnavailable(
            f"{path} contains {text!r}, which is invalid", "use --energy-meter powercap"
        ) from error


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError as error:
        raise MeterUnavailable(f"{path} cannot be read: {error.strerror}", _NO_PMU) from error

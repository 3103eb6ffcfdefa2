"""RAPL through Linux's powercap files: joules of CPU packages and their DRAM, Intel and AMD.

The kernel's intel_rapl driver, which serves AMD too, shows one folder per zone::

    intel-rapl:0            name: package-0     energy_uj  max_energy_range_uj
    intel-rapl:0:0          name: core          inside the package
    intel-rapl:0:1          name: dram          beside the package, although its folder is in it
    intel-rapl:1            name: psys          the whole platform, package-0 included
    intel-rapl-mmio:0       name: package-0     the same register by another path

``package-N`` and ``dram-N`` count, each once. Other zones are read only if the user names them.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

from pytest_energy.clock import now_s, sleep
from pytest_energy.descriptors import OwnDescriptor, fstat
from pytest_energy.errors import MeterFailed
from pytest_energy.meters.plausible import DEAD_WHILE_OTHERS_MOVE_J
from pytest_energy.meters.powercap_zones import (
    choose,
    core_note,
    find_counters,
    read_number,
    unreadable,
)
from pytest_energy.meters.protocol import Meter, MeterSettings, split_root
from pytest_energy.meters.virtual import rapl_provenance
from pytest_energy.model import Domain, Reading

# Intel's SDM vol. 3B, "RAPL Domains": the registers are updated about every 1 ms. So are those of
# AMD's Zen 2 (Schoene et al. 2021, "Energy Efficiency Aspects of the AMD Zen 2 Architecture").
RAPL_UPDATE_INTERVAL_S = 0.001
# The registers have 32 bits, and max_energy_range_uj is 2**32 units. So the range gives a zone's
# unit: 61 uJ for 262143328850 uJ, 15.3 uJ for 65532610987 uJ, and whole joules for some psys.
RAPL_COUNTER_STEPS = 2**32
ENERGY_UJ_STEP_JOULES = 1e-6  # the files hold whole microjoules
# More than any zone draws: the largest sockets have 500 W and peak at 764 W (the
# constraint_1_max_power_uw in intel/powertelemetry's issue 3). A zone that is read more often than
# its range / these watts cannot wrap twice unseen: every 262 s at 262 kJ, every 65 s at 65 kJ.
MAX_ZONE_WATTS = 1000.0
# No real counter wraps within a minute. Test trees with a range of a few joules do, and a sampler
# that runs some milliseconds late must not void their windows.
SHORTEST_TRUSTED_GAP_S = 1.0
SHORTEST_SAMPLING_INTERVAL_S = 0.005
# A thread cannot wait for the years that the range of a broken file may take to wrap.
LONGEST_SAMPLING_INTERVAL_S = 3600.0
# The file of a counter that stands still this long is checked: a deleted file still reads.
STANDSTILL_S = 0.1
# How many updates opening watches for a dead zone: a package draws 0.1 J in this time. If nothing
# moves at all, nothing is known, and a few updates show that.
LIVENESS_UPDATES, NOTHING_MOVES_UPDATES = 100, 3
SUSPEND_S = 0.5  # CLOCK_BOOTTIME gains this much on CLOCK_MONOTONIC only when the machine slept
ENERGY_BYTES = 32  # 2**64 has 20 digits
# As the instant of the last reading, this sends the next one to `_refuse`, at no cost to others.
NEVER_S = float("-inf")

_pread: Any = getattr(os, "pread", None)  # Windows has neither this nor powercap


def open_powercap(settings: MeterSettings, argument: str | None) -> PowercapMeter:
    """Open ``powercap``, ``powercap:psys``, ``powercap:package-0+core-0`` or ``powercap:all``.

    A tree elsewhere: ``powercap:root=DIR`` or ``powercap:psys+root=DIR``.
    """
    domains, root = split_root(argument, os.path.join(settings.sysfs, "powercap"))
    return PowercapMeter(
        root, domains.split("+") if domains else None, trust_sensor=settings.trust_sensor
    )


class PowercapMeter(Meter):
    """Cumulative joules of the RAPL zones under ``root``; by default of every package and its DRAM.

    ``domains`` names others instead: ``core-0``, ``uncore-0``, ``psys``, or ``all`` except psys. A
    package or DRAM that stands still while the others move is dead: it is left out, and the notes
    name it. Raises `MeterUnavailable` if no zone is readable, `OptionError` for an unknown domain.

    Each zone's wraps are undone. A thread reads every ``range / max_zone_watts / 2`` seconds, at
    least half a minute on real hardware, so that long windows miss no wrap. If the thread was held
    up for longer (a stopped process), `read` raises `MeterFailed`::

        with PowercapMeter() as meter:
            before = meter.read()
            work()
            after = meter.read()
    """

    name = "powercap"
    update_interval_s = RAPL_UPDATE_INTERVAL_S

    def __init__(
        self,
        root: str | os.PathLike[str] = "/sys/class/powercap",
        domains: Sequence[str] | None = None,
        *,
        cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo",
        max_zone_watts: float = MAX_ZONE_WATTS,
        trust_sensor: bool = False,
    ):
        found = find_counters(os.fspath(root), cpuinfo)
        chosen = choose(found, domains)
        self.provenance, notes = rapl_provenance(cpuinfo, trust_sensor)
        self._notes = [*notes, *found.notes, *core_note(chosen, cpuinfo)]
        self._max_zone_watts = max_zone_watts
        self._lock = threading.Lock()
        self._failure: MeterFailed | None = None
        self._open_zones: list[_OpenZone] = []
        self._closed = False
        try:
            for counter in chosen:
                self._open_zones.append(
                    _OpenZone(counter.name, os.path.join(counter.folder, "energy_uj"))
                )
            if domains is None:
                self._leave_out_dead_zones()
        except BaseException:
            _close_zones(self._open_zones)
            raise
        names = {zone.name for zone in self._open_zones}
        self.domains = tuple(
            Domain(counter.name, next((p for p in counter.inside if p in names), None))
            for counter in chosen
            if counter.name in names
        )
        self.resolution_joules = max(
            ENERGY_UJ_STEP_JOULES,
            *(z.range_uj / RAPL_COUNTER_STEPS * 1e-6 for z in self._open_zones),
        )
        shortest_wrap_s = min(zone.range_uj for zone in self._open_zones) * 1e-6 / max_zone_watts
        self._longest_gap_s = max(shortest_wrap_s, SHORTEST_TRUSTED_GAP_S)
        self._sampling_interval_s = min(
            max(shortest_wrap_s / 2, SHORTEST_SAMPLING_INTERVAL_S), LONGEST_SAMPLING_INTERVAL_S
        )
        self._read_at_s = now_s()
        self._suspended_s = _suspended_s()
        self._stop_sampling = threading.Event()
        self._sampler: threading.Thread | None = None
        self._release = weakref.finalize(self, _release, self._open_zones, self._stop_sampling)
        _live_meters.add(self)
        self._start_sampling()

    @property  # grows while the meter is read
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What is left out, and which domains stand still while others move."""
        return (*self._notes, *(_dead_note(zone.name) for zone in _dead_zones(self._open_zones)))

    def read(self) -> Reading:
        """The cumulative joules of every domain; two calls cost a few microseconds."""
        # Locked: a value that another thread read before and adds after this one looks like a wrap.
        with self._lock:
            at_s = now_s()
            if at_s - self._read_at_s > self._longest_gap_s:
                self._refuse(at_s)
            joules = {}
            try:
                for zone in self._open_zones:
                    energy_uj = int(_pread(zone.fd, ENERGY_BYTES, 0))
                    gained_uj = energy_uj - zone.energy_uj
                    if gained_uj:
                        if gained_uj < 0 or energy_uj > zone.range_uj:
                            self._unwrap(zone, energy_uj, at_s)
                        zone.energy_uj = energy_uj
                    elif at_s - zone.checked_at_s > STANDSTILL_S:
                        zone.check_still_there(at_s)
                    joules[zone.name] = (energy_uj + zone.wrapped_uj) * 1e-6
            except OSError as error:
                raise MeterFailed(f"{zone.path} can no longer be read: {error.strerror}") from error
            except ValueError as error:
                raise MeterFailed(
                    f"{zone.path} holds no whole number of microjoules: {error}"
                ) from error
            self._read_at_s = at_s
        return Reading(at_s, joules)

    def close(self) -> None:
        """Stop sampling and close the files. Reading after this raises `MeterFailed`."""
        _live_meters.discard(self)
        self._stop_sampling.set()
        with self._lock:
            self._closed = True
            self._read_at_s = NEVER_S
            self._release()

    def _leave_out_dead_zones(self) -> None:
        """Watch the zones until all have moved, or those that have not are dead."""
        if len(self._open_zones) < 2:
            return  # has no neighbour that moves
        for update in range(LIVENESS_UPDATES):
            moved = [zone.gained_uj != 0 for zone in self._open_zones]
            if all(moved) or (not any(moved) and update >= NOTHING_MOVES_UPDATES):
                break
            sleep(RAPL_UPDATE_INTERVAL_S)
            for zone in self._open_zones:
                zone.update()
        for zone in _dead_zones(self._open_zones):
            self._open_zones.remove(zone)
            zone.file.close()
            self._notes.append(f"{_dead_note(zone.name)}, and is not counted")

    def _refuse(self, at_s: float) -> None:
        """Raise why there is no reading: closed, failed meanwhile, or unread for too long."""
        if self._closed:
            raise MeterFailed("the powercap meter is closed")
        failure, self._failure = self._failure, None
        if failure is None:
            failure = MeterFailed(
                f"{self._open_zones[0].path} and the other counters went unread for "
                f"{at_s - self._read_at_s:.0f} s, and within {self._longest_gap_s:.0f} s one can "
                "wrap more than once; the process was probably stopped"
            )
        try:
            for zone in self._open_zones:  # so that the next window is sound again
                zone.start_over(int(_pread(zone.fd, ENERGY_BYTES, 0)))
        except (OSError, ValueError) as error:
            raise failure from error
        self._read_at_s = at_s
        raise failure

    def _unwrap(self, zone: _OpenZone, energy_uj: int, at_s: float) -> None:
        """Undo a wrap of a counter that went backwards, if a wrap explains it."""
        if not 0 <= energy_uj <= zone.range_uj:
            raise MeterFailed(
                f"{zone.path} has {energy_uj} uJ, but its max_energy_range_uj is {zone.range_uj}"
            )
        before_uj = zone.energy_uj
        gained_uj = energy_uj - before_uj + zone.modulus_uj
        possible_uj = self._max_zone_watts * (at_s - self._read_at_s) * 1e6
        suspended_s = _suspended_s()
        slept_s, self._suspended_s = suspended_s - self._suspended_s, suspended_s
        # Back by a little or forward by nearly all of the range: the shorter way happened, unless
        # there was time enough for the longer one.
        if slept_s > SUSPEND_S or gained_uj > max(zone.modulus_uj / 2, possible_uj):
            zone.start_over(energy_uj)
            because = (
                f"the machine slept {slept_s:.0f} s"
                if slept_s > SUSPEND_S
                else f"a wrap would be {gained_uj * 1e-6:.3f} J"
            )
            raise MeterFailed(
                f"{zone.path} went back from {before_uj} to {energy_uj} uJ in "
                f"{at_s - self._read_at_s:.6f} s, which no wrap at {zone.range_uj} uJ explains "
                f"({because}): the counter was reset, and this window is void"
            )
        zone.wrapped_uj += zone.modulus_uj

    def _hold(self, failure: MeterFailed) -> None:
        """Keep the sampler's failure for the next reading: its window is void."""
        with self._lock:
            self._failure = failure
            self._read_at_s = NEVER_S

    def _start_sampling(self) -> None:
        self._stop_sampling.clear()
        arguments = (weakref.ref(self), self._stop_sampling, self._sampling_interval_s)
        self._sampler = threading.Thread(
            target=_sample, args=arguments, name="powercap-sampler", daemon=True
        )
        self._sampler.start()

    def _pause_sampling(self) -> None:
        self._stop_sampling.set()
        if self._sampler is not None:
            self._sampler.join()


class _OpenZone:
    """One open counter: its file, its last value, and its joules so far."""

    __slots__ = (
        "checked_at_s",
        "energy_uj",
        "fd",
        "file",
        "modulus_uj",
        "name",
        "path",
        "range_uj",
        "wrapped_uj",
    )

    def __init__(self, name: str, path: str):
        self.name = name
        self.path = path
        self.range_uj = read_number(os.path.join(os.path.dirname(path), "max_energy_range_uj"))
        # The range is the register's last value. One step later it is zero.
        self.modulus_uj = self.range_uj + round(self.range_uj / RAPL_COUNTER_STEPS)
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.file = OwnDescriptor(self.fd)
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            self.energy_uj = self.wrapped_uj = 0
            self.start_over(int(os.pread(self.fd, ENERGY_BYTES, 0)))
        except (OSError, ValueError) as error:
            self.file.close()
            raise unreadable(path, error) from error
        self.wrapped_uj = -self.energy_uj  # a meter's first reading is about zero
        self.checked_at_s = now_s()

    @property
    def gained_uj(self) -> int:
        """Microjoules since the meter was opened."""
        return self.energy_uj + self.wrapped_uj

    def update(self) -> None:
        """Read the counter before any window: only whether it moves matters then."""
        try:
            energy_uj = int(_pread(self.fd, ENERGY_BYTES, 0))
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error) from error
        if not 0 <= energy_uj <= self.range_uj:
            return  # `read` refuses it
        if energy_uj < self.energy_uj:
            # A wrap. Ignored, it would make a live counter stand still, and so pass for dead.
            self.wrapped_uj += self.modulus_uj
        self.energy_uj = energy_uj

    def start_over(self, energy_uj: int) -> None:
        """Continue from this value, as if the counter had not moved since it was last read."""
        if not 0 <= energy_uj <= self.range_uj:  # its next step would seem to go back
            raise ValueError(f"{energy_uj} uJ, but max_energy_range_uj is {self.range_uj}")
        self.wrapped_uj += self.energy_uj - energy_uj
        self.energy_uj = energy_uj

    def check_still_there(self, at_s: float) -> None:
        # sysfs answers ENODEV once a zone is gone; an ordinary file still reads while it is open.
        self.checked_at_s = at_s
        self.file.check()
        if fstat(self.fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the file was deleted")


def _dead_zones(zones: Sequence[_OpenZone]) -> list[_OpenZone]:
    """Packages and DRAM that have not moved, while another zone has clearly."""
    most_uj = max((zone.gained_uj for zone in zones), default=0)
    if most_uj * 1e-6 < DEAD_WHILE_OTHERS_MOVE_J:
        return []
    # An idle integrated GPU (uncore) rightly draws nothing.
    return [z for z in zones if z.gained_uj == 0 and z.name.startswith(("package", "dram"))]


def _dead_note(domain: str) -> str:
    return f"{domain} stands still while the others move: its counter is dead"


_live_meters: weakref.WeakSet[PowercapMeter] = weakref.WeakSet()


def _sample(
    meter_ref: weakref.ref[PowercapMeter], stop: threading.Event, interval_s: float
) -> None:
    while not stop.wait(interval_s):
        meter = meter_ref()
        if meter is None:
            return
        try:
            meter.read()
        except MeterFailed as failure:
            meter._hold(failure)
        del meter


def _release(zones: list[_OpenZone], stop: threading.Event) -> None:
    stop.set()
    _close_zones(zones)


def _close_zones(zones: list[_OpenZone]) -> None:
    while zones:
        zones.pop().file.close()


def _pause_before_fork() -> None:
    # From Python 3.12 on, a fork beside this thread would warn in the user's test.
    for meter in list(_live_meters):
        meter._pause_sampling()


def _resume_in_parent() -> None:
    # Not in the child, which started no thread: `read` refuses windows long enough for 2 wraps.
    for meter in list(_live_meters):
        meter._start_sampling()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause_before_fork, after_in_parent=_resume_in_parent)


def _suspended_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)

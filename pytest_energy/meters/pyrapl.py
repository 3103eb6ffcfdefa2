"""The same RAPL counters through the pyRAPL package, for projects that have used it so far.

pyRAPL reads packages and DRAM from ``/sys/class/powercap`` and does not handle wraps. Prefer the
meter in powercap.py, which needs no package, costs less and knows more layouts.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_energy.clock import now_s
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters.powercap import MAX_ZONE_WATTS, RAPL_COUNTER_STEPS, RAPL_UPDATE_INTERVAL_S
from pytest_energy.meters.powercap_zones import find_counters, read_number
from pytest_energy.meters.protocol import Meter, MeterSettings
from pytest_energy.meters.virtual import rapl_provenance
from pytest_energy.model import Domain, Reading

PYRAPL_ROOT = "/sys/class/powercap"  # written into pyRAPL, so no option can move it
# 2**32 steps of 15.3 uJ, the finest unit in use: assumed if a range is unknown.
SMALLEST_RANGE_UJ = 65_532_610_987
NOT_COUNTED = -1  # what pyRAPL gives for a socket or a DRAM that it has not found
_NO_PYRAPL = (
    "pip install 'pytest-energy[rapl]', or use --energy-meter powercap, which needs no package"
)
_USE_POWERCAP = "use --energy-meter powercap, which says what is missing and knows more layouts"


def open_pyrapl(settings: MeterSettings, argument: str | None) -> PyraplMeter:
    """Open ``pyrapl``; it takes no argument."""
    if argument is not None:
        raise OptionError(
            "pyrapl counts packages and DRAM and takes no argument, so "
            f"{argument!r} means nothing to it"
        )
    return PyraplMeter(settings.trust_sensor)


class PyraplMeter(Meter):
    """Cumulative joules of packages and DRAM as pyRAPL reads them.

    A value that fell is a wrap if the zone's ``max_energy_range_uj`` is readable. If it is not, or
    after a span that is long enough for a second wrap, `read` raises `MeterFailed`. Raises
    `MeterUnavailable` if pyRAPL is not installed or finds no sensor.
    """

    name = "pyrapl"
    update_interval_s = RAPL_UPDATE_INTERVAL_S

    def __init__(self, trust_sensor: bool = False) -> None:
        self._energy_uj = _open_sensor()
        values_uj = self._energy_uj()
        self._slots = [slot for slot, value_uj in enumerate(values_uj) if value_uj != NOT_COUNTED]
        names = [f"{('package', 'dram')[slot % 2]}-{slot // 2}" for slot in self._slots]
        if not names:
            raise MeterUnavailable("pyRAPL found neither a package nor DRAM", _USE_POWERCAP)
        self.domains = tuple(Domain(name) for name in names)
        self._ranges_uj = _ranges_uj(names)
        self._last_uj = [values_uj[slot] for slot in self._slots]
        self._wrapped_uj = [0.0] * len(names)
        self._read_at_s = now_s()
        self._lock = threading.Lock()
        self._closed = False
        known_uj = [range_uj for range_uj in self._ranges_uj if range_uj is not None]
        self.resolution_joules = max(
            [1e-6, *(range_uj / RAPL_COUNTER_STEPS * 1e-6 for range_uj in known_uj)]
        )
        self._longest_gap_s = (
            min([SMALLEST_RANGE_UJ, *known_uj] if len(known_uj) < len(names) else known_uj)
            * 1e-6
            / MAX_ZONE_WATTS
        )
        self.provenance, about = rapl_provenance("/proc/cpuinfo", trust_sensor)
        self.notes = (
            *about,
            "pyRAPL counts packages and DRAM, and has no wrap handling",
            (
                "a counter that fell is taken for a wrap where its range is known; a window over "
                f"{self._longest_gap_s:.0f} s, in which it could wrap unseen, is void"
            ),
        )

    def read(self) -> Reading:
        """The cumulative joules of every domain now."""
        with self._lock:
            if self._closed:
                raise MeterFailed("the pyrapl meter is closed")
            at_s = now_s()
            try:
                values_uj = self._energy_uj()
            except (OSError, ValueError) as error:
                raise MeterFailed(f"pyRAPL can no longer read {PYRAPL_ROOT}: {error}") from error
            before_uj, self._last_uj = self._last_uj, [values_uj[slot] for slot in self._slots]
            seconds, self._read_at_s = at_s - self._read_at_s, at_s
            if seconds > self._longest_gap_s:
                raise MeterFailed(
                    f"pyRAPL went unread for {seconds:.0f} s, in which a counter can wrap unseen; "
                    f"{_USE_POWERCAP}"
                )
            joules = {}
            for index, domain in enumerate(self.domains):
                if self._last_uj[index] < before_uj[index]:
                    self._wrapped_uj[index] += self._wrap_uj(index, before_uj[index], seconds)
                joules[domain.name] = (self._last_uj[index] + self._wrapped_uj[index]) * 1e-6
        return Reading(at_s, joules)

    def close(self) -> None:
        """Release pyRAPL. Reading after this raises `MeterFailed`."""
        with self._lock, _pyrapls_own_warnings_ignored():
            self._closed = True
            self._energy_uj = (
                list  # of nothing: read() refuses by now, and pyRAPL's files are let go
            )

    def _wrap_uj(self, index: int, before_uj: float, seconds: float) -> float:
        name = self.domains[index].name
        fell = f"pyRAPL's {name} fell from {before_uj:.0f} to {self._last_uj[index]:.0f} uJ"
        range_uj = self._ranges_uj[index]
        if range_uj is None:
            raise MeterFailed(f"{fell}, and it cannot be told what it wraps at; {_USE_POWERCAP}")
        gained_uj = self._last_uj[index] - before_uj + range_uj
        if gained_uj > max(
            range_uj / 2, MAX_ZONE_WATTS * seconds * 1e6
        ):  # back by a little, rather than forward by nearly all of the range
            raise MeterFailed(
                f"{fell} in {seconds:.6f} s, which no wrap at {range_uj} uJ explains: it was reset"
            )
        return range_uj


@contextmanager
def _pyrapls_own_warnings_ignored() -> Iterator[None]:
    # pyRAPL 0.2.3.1 has '\d' in a plain string, for which Python warns, and does not close its
    # files. Its faults must not fail the user's tests.
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, SyntaxWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        yield


def _open_sensor() -> Callable[[], list[float]]:
    try:
        with _pyrapls_own_warnings_ignored():
            import pyRAPL
    except ImportError as error:
        raise MeterUnavailable(f"pyRAPL cannot be imported: {error}", _NO_PYRAPL) from error
    try:
        with _pyrapls_own_warnings_ignored():
            energy_uj: Callable[[], list[float]] = pyRAPL.Sensor().energy
            return energy_uj
    except pyRAPL.PyRAPLException as error:
        said = type(error).__name__
        raise MeterUnavailable(
            f"pyRAPL finds no sensor in {PYRAPL_ROOT} ({said})", _USE_POWERCAP
        ) from error
    except (OSError, ValueError) as error:
        raise MeterUnavailable(
            f"pyRAPL cannot read {PYRAPL_ROOT}: {error}", _USE_POWERCAP
        ) from error


def _ranges_uj(names: list[str]) -> list[int | None]:
    """The value at which each domain wraps, or None if it is unknown."""
    try:
        counters = find_counters(PYRAPL_ROOT, "/proc/cpuinfo").counters
    except MeterUnavailable:
        return [None] * len(names)
    ranges_uj: list[int | None] = []
    for name in names:
        try:
            ranges_uj.append(
                read_number(f"{counters[name].folder}/max_energy_range_uj")
                if name in counters
                else None
            )
        except MeterUnavailable:
            ranges_uj.append(None)
    return ranges_uj

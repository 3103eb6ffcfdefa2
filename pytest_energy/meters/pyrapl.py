"""The same RAPL counters through the pyRAPL package, for projects that already use it.

pyRAPL reads packages and DRAM from ``/sys/class/powercap`` and does not handle wraps. Prefer the
meter in powercap.py: it requires no package, costs less and supports more layouts.
"""

from __future__ import annotations

import logging
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

PYRAPL_ROOT = "/sys/class/powercap"  # pyRAPL hardcodes it, so no option changes it
# 2**32 steps of 15.3 uJ, the finest unit in use. The meter assumes it for an unknown range.
SMALLEST_RANGE_UJ = 65_532_610_987
NOT_COUNTED = -1  # pyRAPL's value for a socket or a DRAM that it does not find
_NO_PYRAPL = (
    "pip install 'pytest-energy[rapl]', or use --energy-meter powercap, which requires no package"
)
_USE_POWERCAP = "use --energy-meter powercap, which names the cause and supports more layouts"


def open_pyrapl(settings: MeterSettings, argument: str | None) -> PyraplMeter:
    """Open ``pyrapl``; it takes no argument."""
    if argument is not None:
        raise OptionError(
            f"pyrapl takes no argument, got {argument!r}; it always counts packages and DRAM"
        )
    return PyraplMeter(settings.trust_sensor)


class PyraplMeter(Meter):
    """Cumulative joules of packages and DRAM as pyRAPL reads them.

    A value that fell is a wrap if the zone's ``max_energy_range_uj`` is readable; if not, `read`
    raises `MeterFailed`. It also does so after a time that is long enough for a second wrap. Raises
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
            "pyRAPL counts packages and DRAM, and does not handle wraps",
            (
                "a counter that falls has wrapped, if its range is known; a window over "
                f"{self._longest_gap_s:.0f} s is void, because a counter could wrap twice in it"
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
                raise MeterFailed(f"pyRAPL failed to read {PYRAPL_ROOT}: {error}") from error
            before_uj, self._last_uj = self._last_uj, [values_uj[slot] for slot in self._slots]
            seconds, self._read_at_s = at_s - self._read_at_s, at_s
            if seconds > self._longest_gap_s:
                raise MeterFailed(
                    f"the pyrapl meter was not read for {seconds:.0f} s, and a counter can wrap "
                    f"twice in that time; {_USE_POWERCAP}"
                )
            joules = {}
            for index, domain in enumerate(self.domains):
                if self._last_uj[index] < before_uj[index]:
                    self._wrapped_uj[index] += self._wrap_uj(index, before_uj[index], seconds)
                joules[domain.name] = (self._last_uj[index] + self._wrapped_uj[index]) * 1e-6
        return Reading(at_s, joules)

    def close(self) -> None:
        """Release pyRAPL. Reading after this raises `MeterFailed`."""
        with self._lock, _quiet_pyrapl():
            self._closed = True
            self._energy_uj = list  # drops pyRAPL's open files; read() now raises

    def _wrap_uj(self, index: int, before_uj: float, seconds: float) -> float:
        name = self.domains[index].name
        fell = f"pyRAPL's {name} fell from {before_uj:.0f} to {self._last_uj[index]:.0f} uJ"
        range_uj = self._ranges_uj[index]
        if range_uj is None:
            raise MeterFailed(f"{fell}, and its range is unknown; {_USE_POWERCAP}")
        gained_uj = self._last_uj[index] - before_uj + range_uj
        # A small step back is likelier than a step forward by almost the whole range.
        if gained_uj > max(range_uj / 2, MAX_ZONE_WATTS * seconds * 1e6):
            raise MeterFailed(
                f"{fell} in {seconds:.6f} s. A wrap at {range_uj} uJ cannot explain it: the "
                "counter was reset"
            )
        return range_uj


@contextmanager
def _quiet_pyrapl() -> Iterator[None]:
    # pyRAPL 0.2.3.1 has '\d' in a plain string and does not close its files. Python warns of both,
    # and these warnings must not fail the user's tests. It also logs that MongoDB's client is
    # missing, which installs a handler of the root logger.
    root = logging.getLogger()
    handlers, disabled = root.handlers[:], root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, SyntaxWarning, ResourceWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


def _open_sensor() -> Callable[[], list[float]]:
    try:
        with _quiet_pyrapl():
            import pyRAPL
    except ImportError as error:
        raise MeterUnavailable(f"pyRAPL cannot be imported: {error}", _NO_PYRAPL) from error
    try:
        with _quiet_pyrapl():
            energy_uj: Callable[[], list[float]] = pyRAPL.Sensor().energy
            return energy_uj
    except pyRAPL.PyRAPLException as error:
        kind = type(error).__name__
        raise MeterUnavailable(
            f"pyRAPL finds no sensor in {PYRAPL_ROOT} ({kind})", _USE_POWERCAP
        ) from error
    except (OSError, ValueError) as error:
        raise MeterUnavailable(
            f"pyRAPL cannot read {PYRAPL_ROOT}: {error}", _USE_POWERCAP
        ) from error


def _ranges_uj(names: list[str]) -> list[int | None]:
    """The value at which each domain wraps, or None if unknown."""
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

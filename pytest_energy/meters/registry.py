"""The installed meters by name, and how a SPEC such as ``powercap:psys,nvml`` opens them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

from pytest_energy.errors import MeterUnavailable, OptionError
from pytest_energy.meters.combined import CombinedMeter
from pytest_energy.meters.protocol import Meter, MeterFactory, MeterSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "pytest_energy.meters"

AUTO = "auto"
# `auto` uses the first available meter of each group, and adds the groups up if their provenances
# agree. powercap and perf read the same registers, and emi is Windows's view of them. Other meters
# may overlap with these, so the user must name them. The user must also name GPUs that report only
# watts (hwmon:gpus): without ticks, the windows of the CPU's counter would be eight times as long.
AUTO_SENSORS = (("powercap", "perf", "emi"), ("nvml",), ("hwmon:counting-gpus",))
AUTO_FALLBACK = "estimate"
NONE_INSTALLED = (
    "no meter is installed: meters are found by pytest-energy's package metadata, which is not on "
    "sys.path; install the package instead of adding its folder to PYTHONPATH"
)


def installed() -> dict[str, MeterFactory]:
    """All installed meters by name. Their modules are imported on first use."""
    return _installed(tuple(sys.path))


@cache
def _installed(path: tuple[str, ...]) -> dict[str, MeterFactory]:
    from importlib.metadata import entry_points  # slow to import

    # Searching all distributions takes tens of milliseconds, and workers open meters often.
    return {point.name: _LazyFactory(point) for point in entry_points(group=ENTRY_POINT_GROUP)}


class _LazyFactory:
    """A factory that imports its meter's module on the first call."""

    def __init__(self, point: EntryPoint):
        self._point = point

    def __call__(self, settings: MeterSettings, argument: str | None) -> Meter:
        try:
            factory: MeterFactory = self._point.load()
        except (ImportError, AttributeError) as error:
            raise MeterUnavailable(
                f"meter {self._point.name} cannot be loaded from {self._point.value}: {error}"
            ) from None
        return factory(settings, argument)


def open_meter(spec: str = AUTO, settings: MeterSettings | None = None) -> Meter:
    """Open ``auto``, a name, ``NAME:ARGUMENT``, or several of these with commas between.

    ``auto`` opens the sensors of this machine, or the estimate if there is none. Raises
    `MeterUnavailable` if a named meter is unavailable, and `OptionError` for an unknown name::

        with open_meter() as meter:
            before = meter.read()
    """
    settings = settings or MeterSettings()
    factories = installed()
    if spec == AUTO:
        return _open_auto(factories, settings)
    with ExitStack() as opened:
        meters = []
        for part in spec.split(","):
            meters.append(_open_one(factories, part.strip(), settings))
            opened.callback(meters[-1].close)
        meter = meters[0] if len(meters) == 1 else CombinedMeter(meters)
        opened.pop_all()  # the caller closes them
        return meter


def _open_one(factories: dict[str, MeterFactory], part: str, settings: MeterSettings) -> Meter:
    name, _, argument = part.partition(":")
    if name not in factories:
        raise OptionError(
            f"no meter is called {name!r}; installed are: {', '.join(sorted([AUTO, *factories]))}"
        )
    return factories[name](settings, argument or None)


def _open_auto(factories: dict[str, MeterFactory], settings: MeterSettings) -> Meter:
    found: list[Meter] = []
    with ExitStack() as opened:
        for group in AUTO_SENSORS:
            for part in group:
                if part.partition(":")[0] not in factories:
                    continue
                try:
                    found.append(_open_one(factories, part, settings))
                except MeterUnavailable:
                    continue  # `pytest-energy doctor` shows why
                opened.callback(found[-1].close)
                break
        opened.pop_all()
    if not found and AUTO_FALLBACK not in factories:
        raise MeterUnavailable(NONE_INSTALLED)
    if not found:
        return factories[AUTO_FALLBACK](settings, None)
    return _best_provenance(found)


def _best_provenance(meters: list[Meter]) -> Meter:
    """The measured meters as one; if none is measured, the attributed ones."""
    best = "measured" if any(m.provenance == "measured" for m in meters) else meters[0].provenance
    used = [meter for meter in meters if meter.provenance == best]
    for meter in meters:
        if meter not in used:
            meter.close()
    return used[0] if len(used) == 1 else CombinedMeter(used)

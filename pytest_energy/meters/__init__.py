"""Meters: a device in, cumulative joules out.

Each device has a module here and an entry point in the group ``pytest_energy.meters``. A package
of yours adds a meter in the same way::

    [project.entry-points."pytest_energy.meters"]
    mymeter = "my_package:open_my_meter"       # called with (MeterSettings, argument: str | None)
"""

from pytest_energy.meters.checks import MeterCheck, check_meters
from pytest_energy.meters.combined import CombinedMeter
from pytest_energy.meters.protocol import Meter, MeterFactory, MeterSettings, info, split_root
from pytest_energy.meters.registry import AUTO, ENTRY_POINT_GROUP, installed, open_meter

__all__ = [
    "AUTO",
    "ENTRY_POINT_GROUP",
    "CombinedMeter",
    "Meter",
    "MeterCheck",
    "MeterFactory",
    "MeterSettings",
    "check_meters",
    "info",
    "installed",
    "open_meter",
    "split_root",
]
